"""The fixed-point stream in whole networks: its bits come back, its gradients are plain ones."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.layers import invertible
from invseg_jax.layers.execution import Execution
from invseg_jax.models import FullInvRes, FullInvResSettings
from tests.compiling import IN_USE


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


Couplings = int | tuple[int, ...]


def chain(how: Execution, count: int, features: int = 4) -> invertible.Trunk:
    weighted = invertible.couplings(
        features, count, convolutions=1, groups=2, scale=0.3, execution=how, rngs=nnx.Rngs(0)
    )
    return invertible.Trunk(weighted, execution=how)


def u(how: Execution, couplings: Couplings) -> invertible.Trunk:
    """With learned down- and up-sampling, and mixing."""
    channels: Any = (4, 8)
    settings = FullInvResSettings(channels=channels, couplings=couplings, auxiliary=0)
    model = FullInvRes(1, 2, settings, execution=how, rngs=nnx.Rngs(0))
    return model.trunk


NETWORKS = [(chain, 6), (u, (3, 1))]  # two couplings would be no loop


def reconstruct(trunk, x, cotangent):
    """The stream that goes in, what the pullback makes of the output, and what the inverse does."""
    stream = trunk.execution.arithmetic.encode(x)
    y, _ = trunk.layer.forward(trunk.params, stream)
    pulled, _, _ = trunk.layer.pullback(trunk.params, y, cotangent, {})
    return stream, pulled, trunk.layer.inverse(trunk.params, y)


def gradient(trunk, x):
    def loss(trunk, x):
        y, _ = trunk(x)
        return jnp.sin(y).sum()

    value, (dtrunk, dx) = jax.value_and_grad(loss, argnums=(0, 1))(trunk, x)
    return value, nnx.state(dtrunk), dx


def norm_of_difference(got, want):
    def flat(tree):
        return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(tree)])

    return np.linalg.norm(flat(got) - flat(want)) / np.linalg.norm(flat(want))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("loop", ["unrolled", "scan"])
@pytest.mark.parametrize(("network", "couplings"), NETWORKS)
def test_the_bits_come_back(network, couplings, loop, precision):
    """Optimised, since what an optimiser does to the sums is what is asked here."""
    how = Execution(stream="fixed", loop=loop, precision=precision)
    trunk, x = network(how, couplings), random((2, 4, 6, 2, 4))
    program = jax.jit(reconstruct, compiler_options=IN_USE)
    stream, pulled, inverted = program(trunk, x, random(x.shape, 1))
    assert stream.dtype == jnp.int32
    np.testing.assert_array_equal(pulled, stream)
    np.testing.assert_array_equal(inverted, stream)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 1e-3)])
@pytest.mark.parametrize(("network", "couplings"), NETWORKS)
def test_gradients_are_those_of_rounding_straight_through(network, couplings, precision, tolerance):
    x = random((2, 4, 6, 2, 4))

    def of(**settings):
        trunk = network(Execution(stream="fixed", precision=precision, **settings), couplings)
        return jax.jit(gradient)(trunk, x)

    expected = of(memory="plain")
    for got in (of(loop="unrolled"), of(loop="scan")):
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
        for part in (1, 2):
            assert norm_of_difference(got[part], expected[part]) < tolerance


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_bits_come_back_from_256_couplings(precision):
    how = Execution(stream="fixed", loop="scan", precision=precision)
    trunk, x = chain(how, 256), random((1, 3, 3, 3, 4))
    program = jax.jit(reconstruct, compiler_options=IN_USE)
    stream, pulled, inverted = program(trunk, x, random(x.shape, 1))
    np.testing.assert_array_equal(pulled, stream)
    np.testing.assert_array_equal(inverted, stream)


def test_in_float32_they_do_not():
    """What fixed point is for."""
    how = Execution(precision="bfloat16")
    trunk, x = chain(how, 64), random((1, 3, 3, 3, 4))
    program = jax.jit(reconstruct, compiler_options=IN_USE)
    stream, pulled, _ = program(trunk, x, random(x.shape, 1))
    assert (pulled != stream).any()
