import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from scipy import ndimage

from invseg_jax.layers.resample import (
    UpConv,
    crop_to,
    max_pool,
    pad_to_multiple,
    upsample_linear,
)

sizes = st.tuples(*[st.integers(1, 4)] * 3)


def random(shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@settings(max_examples=6)
@given(batch=st.integers(1, 2), half=sizes, channels=st.integers(1, 3))
def test_max_pool(batch, half, channels):
    x = np.asarray(random((batch, *(2 * s for s in half), channels)))
    d, h, w = half
    expected = np.empty((batch, d, h, w, channels), np.float32)
    for i, j, k in np.ndindex(d, h, w):
        block = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
        expected[:, i, j, k] = block.max(axis=(1, 2, 3))
    np.testing.assert_array_equal(max_pool(jnp.asarray(x)), expected)


@settings(max_examples=4)
@given(batch=st.integers(1, 2), size=sizes, channels=st.integers(1, 3))
def test_upsampling_is_trilinear_to_the_edges(batch, size, channels):
    x = random((batch, *size, channels))
    shape = (batch, *(2 * s for s in size), channels)
    dy = random(shape, 1)

    def both(function):
        y, transpose = jax.vjp(function, x)
        return y, *transpose(dy)

    y, dx = jax.jit(lambda: both(upsample_linear))()
    expected = jax.jit(lambda: both(lambda x: jax.image.resize(x, shape, "trilinear")))()
    assert y.shape == shape
    np.testing.assert_allclose(y, expected[0], atol=1e-6)
    np.testing.assert_allclose(dx, expected[1], atol=1e-5)
    scipy = ndimage.zoom(np.asarray(x), (1, 2, 2, 2, 1), order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(y, np.asarray(scipy), atol=1e-5)


def test_upsampling_keeps_the_type():
    assert upsample_linear(random((1, 2, 1, 3, 1), dtype=jnp.bfloat16)).dtype == jnp.bfloat16


@settings(max_examples=8)
@given(size=st.tuples(*[st.integers(1, 9)] * 3), multiple=st.sampled_from([1, 2, 4, 8]))
def test_padding_and_cropping(size, multiple):
    x = random((2, *size, 1))
    y = pad_to_multiple(x, multiple)
    assert all(
        s % multiple == 0 and 0 <= s - t < multiple for s, t in zip(y.shape[1:4], size, strict=True)
    )
    np.testing.assert_array_equal(crop_to(y, x.shape), x)
    np.testing.assert_allclose(np.abs(y).sum(), np.abs(x).sum(), rtol=1e-5)


def test_crop_goes_by_the_voxels_alone():
    assert crop_to(jnp.ones((2, 4, 4, 4, 7)), (1, 3, 2, 4, 1)).shape == (2, 3, 2, 4, 7)


def test_up_convolution_is_a_transposed_convolution(assert_close):
    up, x = UpConv(3, 2, rngs=nnx.Rngs(0)), random((2, 3, 1, 2, 3))
    # The columns of ours are output channels by positions in the block. lax.conv_transpose has the
    # positions first, and mirrored, as it correlates.
    kernel = up.kernel[...].reshape(3, 2, 2, 2, 2).transpose(2, 3, 4, 0, 1)[::-1, ::-1, ::-1]
    numbers = ("NDHWC", "DHWIO", "NDHWC")

    def transposed(x):
        return lax.conv_transpose(x, kernel, (2, 2, 2), "VALID", dimension_numbers=numbers)

    dy = random((2, 6, 2, 4, 2), 1)
    y, pull = jax.vjp(up.__call__, x)
    expected, expected_pull = jax.vjp(transposed, x)
    assert_close(y, expected)
    assert_close(pull(dy), expected_pull(dy))
