import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from invseg_jax.layers import preactivation
from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.norm import GroupNorm
from invseg_jax.layers.preactivation import (
    preactivated_conv,
    preactivated_conv_into,
    preactivated_conv_pullback,
)
from invseg_jax.reversible import Accumulator, Planes
from tests.compiling import temporary_bytes


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def modules(features, out, groups, size=3):
    norm = GroupNorm(features, groups)
    norm.scale[...] = 1.0 + random((features,))
    norm.offset[...] = random((features,), 1)
    return norm, Conv(features, out, size, bias=True, rngs=nnx.Rngs(0))


def written_apart(x, norm, conv, mask):
    u = norm(x)
    return conv(jnp.where(u >= 0, u, 0.01 * u) * mask[:, None, None, None])


def in_one(slabs=1):
    how = Execution(slabs=slabs)
    return lambda x, norm, conv, mask: preactivated_conv(x, norm, conv, mask, how)


def elsewhere(monkeypatch):
    """As if every program were for a GPU."""
    monkeypatch.setattr(
        preactivation.lax, "platform_dependent", lambda *args, default, **others: default(*args)
    )


def pull(function, x, norm, conv, mask, dy):
    def outputs(x, norm, conv):
        return function(x, norm, conv, mask)

    y, transpose = jax.vjp(outputs, x, norm, conv)
    dx, dnorm, dconv = transpose(dy)
    return y, dx, nnx.state(dnorm), nnx.state(dconv)


def compare(assert_close, function, shape, features, out, groups, size):
    x = 0.5 + random((*shape, features), 2)
    norm, conv = modules(features, out, groups, size)
    mask = jnp.ones((shape[0], features)).at[0, 0].set(0.0)
    dy = random((*shape, out), 3)
    expected = jax.jit(lambda *args: pull(written_apart, *args))(x, norm, conv, mask, dy)
    got = jax.jit(lambda *args: pull(function, *args))(x, norm, conv, mask, dy)
    assert_close(got, expected, relative=2e-5, least=1.0)


@settings(max_examples=6)
@given(
    shape=st.tuples(st.integers(1, 2), *[st.integers(2, 5)] * 3),
    features=st.integers(1, 6),
    groups=st.integers(1, 4),
    size=st.sampled_from([1, 3]),
)
def test_values_and_gradients_are_those_of_the_three_written_apart(
    assert_close, shape, features, groups, size
):
    compare(assert_close, in_one(), shape, features, 2, groups, size)


@pytest.mark.parametrize(("size", "slabs"), [(3, 1), (3, 2), (3, 3), (3, 6), (1, 3)])
def test_slabs_on_other_platforms(assert_close, monkeypatch, size, slabs):
    elsewhere(monkeypatch)
    compare(assert_close, in_one(slabs), (2, 6, 3, 4), 4, 3, 2, size)


@pytest.mark.parametrize("there", [None, 1, 3])
def test_onto_a_stream_and_back(assert_close, monkeypatch, there):
    """On this platform, and with slabs as on a GPU: value and gradients of the one function."""
    if there is not None:
        elsewhere(monkeypatch)
    how = Execution(slabs=there or 1)
    norm, conv = modules(4, 3, 2)
    conv.bias = None
    x, stream, dy = (random((2, 6, 3, 5, c), seed) for seed, c in enumerate((4, 3, 3)))
    mask = jnp.ones((2, 4)).at[0, 0].set(0.0)
    into = Accumulator(Planes.of(stream), jnp.subtract)

    def pulled(x, norm, conv):
        return preactivated_conv_pullback(Planes.of(x), norm, conv, mask, how, into, Planes.of(dy))

    put, dx, dnorm, dconv = jax.jit(pulled)(x, norm, conv)
    expected = jax.jit(lambda *args: pull(in_one(how.slabs), *args))(x, norm, conv, mask, dy)
    got = -(put.volume - stream), dx.volume, nnx.state(dnorm), nnx.state(dconv)
    assert_close(got, expected, relative=1e-5, least=1.0)

    evaluated = jax.jit(
        lambda x, norm, conv: preactivated_conv_into(Planes.of(x), norm, conv, mask, how, into)
    )(x, norm, conv)
    np.testing.assert_array_equal(evaluated.rows, put.rows)


def test_more_slabs_take_less_memory_there(monkeypatch):
    elsewhere(monkeypatch)
    norm, conv = modules(8, 8, 2)
    x = jax.ShapeDtypeStruct((1, 16, 16, 16, 8), jnp.float32)
    mask = jax.ShapeDtypeStruct((1, 8), jnp.float32)

    def temporaries(slabs):
        program = jax.jit(lambda *args: pull(in_one(slabs), *args))
        return temporary_bytes(program.lower(x, norm, conv, mask, x))

    assert temporaries(8) < 0.7 * temporaries(1)


def test_on_cpus_only_planes_are_held_beside_input_and_output():
    norm, conv = modules(8, 8, 2)
    x = jax.ShapeDtypeStruct((1, 64, 8, 8, 8), jnp.float32)
    mask = jax.ShapeDtypeStruct((1, 8), jnp.float32)
    volume = 64 * 8 * 8 * 8 * 4

    def temporaries(function):
        program = jax.jit(lambda *args: pull(function, *args))
        return temporary_bytes(program.lower(x, norm, conv, mask, x))

    assert temporaries(in_one()) < 1.5 * volume < temporaries(written_apart)


def test_the_statistics_do_not_depend_on_the_batch():
    norm, conv = modules(4, 3, 2)
    x, mask = random((3, 2, 3, 2, 4)), jnp.ones((3, 4))
    call = jax.jit(in_one())
    alone = jnp.concatenate([call(x[i : i + 1], norm, conv, mask[:1]) for i in range(3)])
    np.testing.assert_allclose(call(x, norm, conv, mask), alone, rtol=1e-5, atol=1e-6)


def test_lowered_for_a_gpu_it_is_the_compiler_s_convolution():
    norm, conv = modules(2, 2, 1)
    x, mask = random((1, 2, 2, 2, 2)), jnp.ones((1, 2))
    traced = jax.jit(lambda *args: pull(in_one(), *args)).trace(x, norm, conv, mask, x)
    counts = {
        platform: traced.lower(lowering_platforms=(platform,))
        .as_text()
        .count("stablehlo.convolution")
        for platform in ("cpu", "tpu", "cuda")
    }
    assert counts == {"cpu": 0, "tpu": 0, "cuda": 3}
    assert lax.platform_dependent is preactivation.lax.platform_dependent
