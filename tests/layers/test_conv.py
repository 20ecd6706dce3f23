import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from invseg_jax.layers import compiler_conv, plane_conv
from invseg_jax.layers.conv import Conv, conv3x3x3
from invseg_jax.reversible import Accumulator
from tests.compiling import temporary_bytes


def random(shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def reference(x, kernel):
    """The compiler's own convolution; the kernel's axes are height, width, in, depth, out."""
    kernel = kernel.transpose(3, 0, 1, 2, 4)
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=numbers)


def three(convolution, x, kernel, dy):
    """The convolution and its two gradients."""
    y, transpose = jax.vjp(convolution, x, kernel)
    return (y, *transpose(dy))


@settings(max_examples=6)
@given(
    batch=st.integers(1, 2),
    size=st.tuples(*[st.integers(1, 5)] * 3),
    features=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
@example(batch=1, size=(1, 1, 1), features=(1, 1))
@example(batch=2, size=(1, 4, 3), features=(1, 3))
@example(batch=1, size=(5, 2, 7), features=(3, 1))
def test_against_the_compiler_s(assert_close, batch, size, features):
    a, b = features
    x, kernel, dy = random((batch, *size, a)), random((3, 3, a, 3, b), 1), random((batch, *size, b))
    expected = jax.jit(lambda *args: three(reference, *args))(x, kernel, dy)
    got = jax.jit(lambda *args: three(conv3x3x3, *args))(x, kernel, dy)
    assert_close(got, expected, least=1.0)


def rounded(*arrays):
    return [a.astype(jnp.bfloat16).astype(jnp.float32) for a in arrays]


@pytest.mark.parametrize("size", [(4, 5, 3), (1, 2, 2)])
def test_bfloat16_factors_are_summed_in_float32(assert_close, size):
    x, kernel, dy = random((2, *size, 40)), random((3, 3, 40, 3, 2), 1), random((2, *size, 2), 2)
    got = jax.jit(lambda *args: three(lambda *a: conv3x3x3(*a, "bfloat16"), *args))(x, kernel, dy)
    exact = jax.jit(lambda *args: three(reference, *args))(*rounded(x, kernel, dy))
    assert_close(got, exact)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("size", "slabs"), [(1, 1), (3, 1), (3, 2), (3, 6), (1, 4)])
def test_the_path_of_other_platforms(assert_close, precision, size, slabs):
    x, dy, stream = random((2, 6, 8, 2)), random((2, 6, 8, 3), 2), random((2, 6, 8, 3), 3)
    kernel = random((size, size, 2, size, 3), 1)

    def prepare(piece):
        return jnp.tanh(piece)

    def retract(piece, cotangent):
        cotangent = cotangent * (1 - jnp.tanh(piece) ** 2)
        return cotangent, cotangent.sum(axis=tuple(range(1, piece.ndim - 1)))

    def both(path, **more):
        @jax.jit
        def call(x, kernel, dy, stream):
            how = dict(width=2, prepare=prepare, precision=precision, **more)
            y = path.forward(x, kernel, **how)
            alone = path.gradients(x, kernel, dy, retract=retract, **how)
            assert alone[-1] is None
            into = Accumulator(stream, jnp.subtract)
            together = path.gradients(x, kernel, dy, retract=retract, into=into, **how)
            return y, path.forward(x, kernel, into=into, **how), alone[:-1], together

        return call(x, kernel, dy, stream)

    # There the result of a convolution in bfloat16 is bfloat16 too.
    relative = 1e-5 if precision == "float32" else 2**-7
    assert_close(both(compiler_conv, slabs=slabs), both(plane_conv), relative)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_in_a_stream_s_place(depth, size):
    x, stream, dy = (random((2, depth, 12, c), i) for i, c in enumerate((2, 5, 5)))
    kernel = random((size, size, 2, size, 5), 2)

    def into(stream):
        return Accumulator(stream, jnp.subtract)

    whole = jax.jit(lambda x, kernel, stream: stream - plane_conv.forward(x, kernel, 3))
    expected = whole(x, kernel, stream)
    got = jax.jit(lambda x, kernel, stream: plane_conv.forward(x, kernel, 3, into=into(stream)))
    np.testing.assert_array_equal(got(x, kernel, stream), expected)

    pull = jax.jit(
        lambda x, kernel, stream: plane_conv.gradients(x, kernel, dy, 3, into=into(stream))
    )
    *gradients, result = pull(x, kernel, stream)
    np.testing.assert_array_equal(result, expected)
    *alone, nothing = jax.jit(lambda x, kernel: plane_conv.gradients(x, kernel, dy, 3))(x, kernel)
    assert nothing is None
    jax.tree.map(np.testing.assert_array_equal, gradients, alone)


@pytest.mark.parametrize("size", [1, 3])
def test_a_stream_is_never_copied(size):
    x, kernel = random((1, 48, 64, 4)), random((size, size, 4, size, 4), 2)

    def subtract(stream, x, kernel):
        return plane_conv.forward(x, kernel, 8, into=Accumulator(stream, jnp.subtract))

    def subtract_and_differentiate(stream, x, kernel, dy):
        gradients = plane_conv.gradients(x, kernel, dy, 8, into=Accumulator(stream, jnp.subtract))
        return gradients[::-1]  # the stream first: what is given away becomes the first that fits

    def temporaries(step, *arguments):
        return temporary_bytes(jax.jit(step, donate_argnums=0).lower(x, x, kernel, *arguments))

    # A few planes, and their columns.
    assert temporaries(subtract) < x.nbytes
    if size == 3:
        assert temporaries(subtract_and_differentiate, x) < x.nbytes


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_moments_by_planes(depth):
    x = random((2, depth, 12, 5)) + 1000.0
    mean, variance = jax.jit(plane_conv.moments)(x)
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, wide.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, wide.var(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 0), ("cuda", 3), ("tpu", 3)])
def test_the_platform_chooses_the_path(platform, convolutions):
    x, kernel = random((1, 2, 2, 2, 1)), random((3, 3, 1, 3, 1))
    traced = jax.jit(lambda x, kernel: three(conv3x3x3, x, kernel, x)).trace(x, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.convolution") == convolutions


def test_conv_module(assert_close):
    x = random((2, 3, 1, 2, 3))
    large = Conv(3, 2, bias=True, rngs=nnx.Rngs(0))
    assert large.bias is not None and large.weights.shape == (3, 3, 3, 3, 2)
    large.bias[...] = jnp.array([1.0, -2.0])
    assert_close(large(x), reference(x, large.weights) + large.bias[...].reshape(1, 1, 1, 1, 2))

    small = Conv(3, 5, 1, rngs=nnx.Rngs(0))
    assert small.bias is None
    assert_close(small(x), reference(x, small.weights))


def test_first_weights():
    kernel = Conv(20, 30, scale=0.5, rngs=nnx.Rngs(0)).kernel[...]
    # He et al. 2015, behind a leaky ReLU of slope 0.01.
    deviation = 0.5 * np.sqrt(2 / (1 + 0.01**2) / (27 * 20))
    assert np.abs(kernel.mean()) < 0.05 * deviation
    np.testing.assert_allclose(kernel.std(), deviation, rtol=0.02)
    np.testing.assert_array_equal(Conv(20, 30, scale=0.5, rngs=nnx.Rngs(0)).kernel[...], kernel)
    assert np.abs(Conv(20, 30, scale=0.5, rngs=nnx.Rngs(1)).kernel[...] - kernel).max() > deviation


def test_shapes_without_values():
    module = nnx.eval_shape(lambda: Conv(2, 3, bias=True, rngs=nnx.Rngs(0)))
    assert module.kernel.shape == (3, 3, 2, 9)


def test_another_size_is_refused():
    with pytest.raises(ValueError, match=r"^convolution of size 2; there are sizes 1 and 3$"):
        Conv(1, 1, 2, rngs=nnx.Rngs(0))
