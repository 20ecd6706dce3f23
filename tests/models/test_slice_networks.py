"""The two-dimensional networks of interactive segmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.layers.execution import Execution
from invseg_jax.models.interaction import InteractionNetwork
from invseg_jax.models.memory import Memory, MemoryNetwork
from invseg_jax.models.slice_unet import SliceNetworkSettings
from tests.compiling import temporary_bytes

SMALL = SliceNetworkSettings(channels=(4, 8, 8), groups=2, key=4, value=6, level=1, detail=2)


def interaction(memory: str = "reversible", settings: SliceNetworkSettings = SMALL):
    execution = Execution(memory=memory)  # pyright: ignore[reportArgumentType]
    return InteractionNetwork(3, settings, execution=execution, rngs=nnx.Rngs(0))


def memory_network(memory: str = "reversible") -> MemoryNetwork:
    execution = Execution(memory=memory)  # pyright: ignore[reportArgumentType]
    return MemoryNetwork(4, 3, SMALL, execution=execution, rngs=nnx.Rngs(0))


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def test_the_interaction_network_gives_logits_at_every_level():
    found = interaction()(normal(0, 2, 16, 16, 3))
    assert found.logits.shape == (2, 16, 16)
    assert [level.shape for level in found.coarse] == [(2, 8, 8), (2, 4, 4), (2, 2, 2)]


@pytest.mark.parametrize("size", [(16, 24), (12, 12)])
def test_a_window_of_another_size_is_refused_with_the_multiple(size):
    with pytest.raises(ValueError, match="multiple of 8"):
        interaction()(jnp.zeros((1, *size, 3)))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"channels": (4,)}, "2 or more levels"),
        ({"level": 3}, "levels 0 to 2"),
        ({"key": 0}, "key is 0"),
        ({"couplings": 0}, "couplings is 0"),
    ],
)
def test_sizes_out_of_range_are_refused(changed, said):
    values = {"channels": (4, 8, 8), "level": 1} | changed
    with pytest.raises(ValueError, match=said):
        SliceNetworkSettings(**values)


@pytest.mark.parametrize("memory", ["plain", "remat"])
def test_gradients_are_those_of_automatic_differentiation(memory):
    x = normal(1, 1, 16, 16, 3)

    def gradient(memory):
        graph, weights = nnx.split(interaction(memory))

        def loss(weights):
            found = nnx.merge(graph, weights)(x)
            return (found.logits**2).mean() + sum((c**2).mean() for c in found.coarse)

        return jax.tree.leaves(jax.jit(jax.grad(loss))(weights))

    for ours, theirs in zip(gradient("reversible"), gradient(memory), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5, rtol=2e-3)


def test_reversible_sequences_store_less_than_plain_ones():
    deep = SliceNetworkSettings(
        channels=(8, 8), couplings=8, groups=2, key=4, value=6, level=1, detail=2
    )
    x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)

    def stored(memory: str) -> int:
        graph, weights = nnx.split(interaction(memory, deep))

        def loss(weights, x):
            return (nnx.merge(graph, weights)(x).logits ** 2).mean()

        return temporary_bytes(jax.jit(jax.grad(loss)).lower(weights, x))

    assert stored("reversible") < 0.6 * stored("plain")


def kept(network: MemoryNetwork, count: int, valid=None) -> Memory:
    z = jnp.arange(count, dtype=jnp.float32)[None] / 4
    there = jnp.ones((1, count), bool) if valid is None else jnp.array([valid])
    return network.keep(normal(2, 1, count, 16, 16, 3), z, there)


def test_the_memory_network_gives_a_mask_and_a_quality():
    network = memory_network()
    found = network(normal(3, 1, 16, 16, 4), jnp.zeros(1), kept(network, 2))
    assert found.logits.shape == (1, 16, 16)
    assert found.quality.shape == (1,)


def test_a_place_of_the_memory_that_is_not_valid_changes_nothing():
    network = memory_network()
    x, z = normal(3, 1, 16, 16, 4), jnp.zeros(1)
    both = kept(network, 2)
    alone = Memory(*(part[:, :1] for part in both))
    hidden = both._replace(valid=jnp.array([[True, False]]))
    expected = network(x, z, alone)
    found = network(x, z, hidden)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-6)
    assert not np.allclose(network(x, z, both).logits, expected.logits, atol=1e-6)


def test_what_is_read_is_the_mean_of_the_values_weighted_by_the_keys():
    network = memory_network()
    held, asked = kept(network, 2), normal(5, 1, 4, 4, SMALL.key)
    z = jnp.array([0.1])
    read = network._read(asked, z, held)
    decay = np.log1p(np.exp(np.asarray(network.decay[...])))
    scores = np.einsum("pk,mqk->pmq", asked.reshape(16, -1), held.keys[0]) * SMALL.key**-0.5
    scores = scores - (decay * np.abs(0.1 - np.asarray(held.z[0])))[None, :, None]
    shares = np.exp(scores)
    shares /= shares.sum((1, 2), keepdims=True)
    expected = np.einsum("pmq,mqv->pv", shares, held.values[0])
    np.testing.assert_allclose(read.reshape(16, -1), expected, rtol=1e-4, atol=1e-5)


def test_the_order_of_the_memory_does_not_matter():
    network = memory_network()
    held = kept(network, 3)
    turned = Memory(*(part[:, ::-1] for part in held))
    x, z = normal(3, 1, 16, 16, 4), jnp.zeros(1)
    np.testing.assert_allclose(network(x, z, held).logits, network(x, z, turned).logits, atol=1e-5)


def test_the_quality_head_sends_no_gradient_back():
    network = memory_network()
    graph, weights = nnx.split(network)
    x = normal(3, 1, 16, 16, 4)

    def quality(weights):
        inner = nnx.merge(graph, weights)
        return inner(x, jnp.zeros(1), kept(inner, 1)).quality.sum()

    gradient = jax.grad(quality)(weights)
    flat = nnx.to_flat_state(gradient)
    touched = {path[0] for path, leaf in flat if float(jnp.abs(leaf[...]).max()) > 0}
    assert touched == {"quality"}
