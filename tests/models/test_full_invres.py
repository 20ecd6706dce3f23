from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from invseg_jax.layers.execution import Execution
from invseg_jax.layers.resample import pad_to_multiple
from invseg_jax.models import FullInvRes, FullInvResSettings
from tests import compiling

CHANNELS = ((5,), (4, 16), (4, 8, 16))
VOXELS = st.integers(4, 9)


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def network(**settings: Any) -> FullInvRes:
    how = {"execution": settings.pop("execution")} if "execution" in settings else {}
    settings = {"channels": (4, 8), "groups": 1, "auxiliary": 0} | settings
    return FullInvRes(2, 3, FullInvResSettings(**settings), **how, rngs=nnx.Rngs(0))


def test_reversible_has_the_gradients_of_plain(check_gradients):
    x = random((2, 5, 4, 7, 2))
    settings = {"couplings": (2, 1), "auxiliary": 1, "dropout": 0.2}
    check_gradients(network, x, jax.random.key(1), **settings)


@settings(max_examples=3, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    channels=st.sampled_from(CHANNELS),
    couplings=st.integers(1, 3),
    batch=st.integers(1, 2),
    size=st.tuples(VOXELS, VOXELS, VOXELS),
    dropout=st.booleans(),
)
def test_reversible_has_the_gradients_of_plain_whatever_the_shape(
    check_gradients, channels, couplings, batch, size, dropout
):
    x, key = random((batch, *size, 2)), jax.random.key(1) if dropout else None
    check_gradients(
        network,
        x,
        key,
        whole=True,
        channels=channels,
        couplings=couplings,
        auxiliary=len(channels) - 1,
        dropout=0.2,
    )


@pytest.mark.parametrize(("channels", "couplings"), [((5,), 3), ((4, 8, 16), 1)])
def test_the_trunk_is_a_bijection(assert_close, channels, couplings):
    model, key = network(channels=channels, couplings=couplings, dropout=0.2), jax.random.key(0)
    x = pad_to_multiple(random((2, 5, 4, 7, channels[0])), model.multiple)
    y, _ = jax.jit(model.trunk.__call__)(x, key)
    assert y.shape == x.shape and np.abs(y - x).max() > 0.1
    assert_close(jax.jit(model.trunk.inverse)(y, key), x)


def test_shapes_at_odd_sizes():
    model = network(channels=(4, 8, 16), auxiliary=2)
    outputs = nnx.eval_shape(lambda model, x: model.outputs(x), model, random((2, 13, 8, 10, 2)))
    assert outputs.logits.shape == (2, 13, 8, 10, 3)
    assert [a.shape for a in outputs.auxiliary] == [(2, 7, 4, 5, 3), (2, 4, 2, 3, 3)]
    logits = nnx.eval_shape(lambda model, x: model(x), model, random((1, 1, 9, 2, 2)))
    assert logits.shape == (1, 1, 9, 2, 3)


def test_dropout_needs_a_key():
    model, x = network(channels=(5,), couplings=1, dropout=0.5), random((1, 4, 4, 4, 2))
    call = jax.jit(model.__call__)
    one, other = (call(x, jax.random.key(seed)) for seed in (0, 3))
    np.testing.assert_array_equal(call(x, jax.random.key(0)), one)
    assert (one != other).any() and (one != call(x)).any()


def test_couplings_for_each_level():
    def branches(couplings):
        model = network(channels=(4, 8, 16), couplings=couplings)
        params = nnx.to_flat_state(nnx.state(model.trunk, nnx.Param))
        return sum(len(weights[...]) for path, weights in params if "convs" in path)

    # Encoder and decoder have theirs; the coarsest level has them once.
    assert branches(2) == 2 * 2 + 2 * 2 + 2
    assert branches((1, 2, 5)) == 2 * 1 + 2 * 2 + 5


def temporary_bytes(memory, couplings):
    model = FullInvRes(
        1,
        2,
        FullInvResSettings(channels=(8, 16), couplings=couplings, auxiliary=0),
        execution=Execution(memory=memory),
        rngs=nnx.Rngs(0),
    )

    def loss(model, x):
        return jnp.square(model(x)).mean()

    step = jax.jit(jax.value_and_grad(loss)).lower(model, jnp.zeros((1, 24, 24, 24, 1)))
    return compiling.temporary_bytes(step)


def test_memory_does_not_grow_with_depth():
    deep = temporary_bytes("reversible", 30)
    assert deep <= 1.02 * temporary_bytes("reversible", 2)
    # And this is what the test would see otherwise.
    assert temporary_bytes("plain", 30) > 8 * deep


@pytest.mark.parametrize(
    ("channels", "sentence"),
    [
        ((4, 12), r"^channels \(4, 12\): 12 must be a multiple of 8 and less than 8 x 4, as 12/8 "),
        ((4, 32), r"^channels \(4, 32\): 32 must be a multiple of 8 and less than 8 x 4, as 32/8 "),
        (
            (4, 8, 64),
            r"^channels \(4, 8, 64\): 64 must be .* of the 8 channels above go down to it$",
        ),
        ((1,), r"^couplings need at least 2 channels to halve, got 1$"),
    ],
)
def test_channels_that_do_not_split_are_refused(channels, sentence):
    with pytest.raises(ValueError, match=sentence):
        network(channels=channels)


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"^auxiliary 2: there are 1 coarser levels$"):
        network(auxiliary=2)
    with pytest.raises(
        ValueError, match=r"^\(2, 2, 2\) given for 2 levels; give one number of at "
    ):
        network(couplings=(2, 2, 2))
    with pytest.raises(ValueError, match=r"^\(0, 0\) given for 2 levels; give one number of at "):
        network(couplings=0)
    with pytest.raises(ValueError, match=r"^memory is 'swap'; it can be reversible, plain, remat$"):
        Execution(memory="swap")  # pyright: ignore[reportArgumentType]
