from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from invseg_jax.models import PartialInvRes, PartialInvResSettings

CHANNELS = ((5,), (4, 6), (4, 6, 8))
VOXELS = st.integers(4, 9)


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def network(**settings: Any) -> PartialInvRes:
    how = {"execution": settings.pop("execution")} if "execution" in settings else {}
    own = {"channels": (4, 6), "groups": 1, "auxiliary": 0, "decoder_couplings": None}
    return PartialInvRes(2, 3, PartialInvResSettings(**(own | settings)), **how, rngs=nnx.Rngs(0))


def parameters(model):
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def test_it_has_the_parameters_of_the_authors_code():
    settings = PartialInvResSettings(
        channels=(60, 120, 240, 360, 480), groups=30, activate_head=False, auxiliary=0
    )
    model = nnx.eval_shape(lambda: PartialInvRes(4, 3, settings, rngs=nnx.Rngs(0)))
    assert parameters(model) == 12_365_283


def test_reversible_has_the_gradients_of_plain(check_gradients):
    x = random((2, 5, 4, 7, 2))
    check_gradients(network, x, jax.random.key(1), dropout=0.2, auxiliary=1)


@settings(max_examples=3, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    channels=st.sampled_from(CHANNELS),
    couplings=st.integers(1, 3),
    batch=st.integers(1, 2),
    size=st.tuples(VOXELS, VOXELS, VOXELS),
    skip=st.sampled_from(["sum", "concat"]),
    dropout=st.booleans(),
)
def test_reversible_has_the_gradients_of_plain_whatever_the_shape(
    check_gradients, channels, couplings, batch, size, skip, dropout
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
        skip=skip,
        dropout=0.2,
    )


def test_each_sequence_is_a_bijection(assert_close):
    model = network(channels=(5, 6), couplings=(2, 1), decoder_couplings=(3, 2))
    for sequence, features in ((model.decoder[0], 5), (model.encoder[1], 6)):
        x = random((2, 3, 2, 4, features))
        y, _ = jax.jit(sequence.__call__)(x)
        assert np.abs(y - x).max() > 0.1
        assert_close(jax.jit(sequence.inverse)(y), x)


def test_shapes_at_odd_sizes():
    model = network(channels=(4, 6, 8), auxiliary=2)
    outputs = nnx.eval_shape(lambda model, x: model.outputs(x), model, random((2, 13, 8, 10, 2)))
    assert outputs.logits.shape == (2, 13, 8, 10, 3)
    assert [a.shape for a in outputs.auxiliary] == [(2, 7, 4, 5, 3), (2, 4, 2, 3, 3)]
    logits = nnx.eval_shape(lambda model, x: model(x), model, random((1, 1, 9, 2, 2)))
    assert logits.shape == (1, 1, 9, 2, 3)


def test_couplings_of_encoder_and_decoder():
    def kernels(**settings):
        model = network(**settings)
        return [
            len(trunk.params["branches"].convs[0].kernel[...])
            for trunk in [*model.encoder, *model.decoder]
        ]

    assert kernels(couplings=2) == [2, 2, 2, 2]
    assert kernels(couplings=(1, 3)) == [1, 3, 1, 3]
    assert kernels(couplings=(1, 3), decoder_couplings=2) == [1, 3, 2, 2]


def test_dropout_needs_a_key():
    model, x = network(dropout=0.5), random((1, 4, 4, 4, 2))
    call = jax.jit(model.__call__)
    one, other = (call(x, jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(call(x, jax.random.key(0)), one)
    assert (one != other).any() and (one != call(x)).any()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"^skip is 'add'; it can be sum or concat$"):
        network(skip="add")
    with pytest.raises(ValueError, match=r"^auxiliary 2: there are 1 coarser levels$"):
        network(auxiliary=2)
    with pytest.raises(
        ValueError, match=r"^\(1,\) given for 2 levels; give one number of at least"
    ):
        network(decoder_couplings=(1,))
    with pytest.raises(ValueError, match=r"^couplings need at least 2 channels to halve, got 1$"):
        network(channels=(1, 2))
