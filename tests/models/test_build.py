import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.models import MODELS, build
from invseg_jax.models.outputs import Outputs, crop_levels, per_level

SMALL = {
    "UNet3D": {"channels": (4, 6)},
    "PartialInvRes": {"channels": (4, 6)},
    "FullInvRes": {"channels": (4, 8)},
    "CicekUNet3D": {"channels": (4, 8)},
}


def weights(model):
    return jax.tree.leaves(nnx.state(model, nnx.Param))


@pytest.mark.parametrize("name", sorted(MODELS.keys() - {"CicekUNet3D"}))
def test_every_same_sized_network_is_built_by_its_name(name):
    model = build(name, 3, 5, SMALL[name], seed=0)
    assert type(model) is MODELS[name]
    x = jax.ShapeDtypeStruct((2, 5, 3, 4, 3), jnp.float32)
    outputs = nnx.eval_shape(lambda model, x: model.outputs(x), model, x)
    assert isinstance(outputs, Outputs) and outputs.auxiliary == ()
    assert outputs.logits == jax.ShapeDtypeStruct((2, 5, 3, 4, 5), jnp.float32)
    assert nnx.eval_shape(lambda model, x: model(x), model, x) == outputs.logits


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_holds_float32_parameters_and_nothing_else(name):
    model = build(name, 1, 2, SMALL[name], seed=0)
    assert len(weights(model)) == len(jax.tree.leaves(nnx.state(model)))
    assert all(leaf.dtype == jnp.float32 for leaf in weights(model))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_seed_makes_the_weights(name):
    first, again, other = (weights(build(name, 1, 2, SMALL[name], seed)) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_default_size_can_be_built(name):
    model = nnx.eval_shape(lambda: build(name, 2, 4, {}, seed=0))
    assert sum(leaf.size for leaf in weights(model)) > 1_000_000


def test_an_unknown_name_is_refused():
    sentence = (
        r"^no network is called 'VNet'; there are UNet3D, PartialInvRes, FullInvRes, CicekUNet3D$"
    )
    with pytest.raises(ValueError, match=sentence):
        build("VNet", 1, 2, {}, seed=0)


def test_unknown_and_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"^UNet3D: .*unexpected keyword argument 'depth'"):
        build("UNet3D", 1, 2, {"depth": 3}, seed=0)
    with pytest.raises(ValueError, match=r"^auxiliary 4: there are 3 coarser levels$"):
        build("FullInvRes", 1, 2, {"auxiliary": 4}, seed=0)


def test_one_number_or_one_a_level():
    assert per_level(2, 3) == (2, 2, 2)
    assert per_level([1, 2], 2) == (1, 2)
    sentence = r"^\(1, 2\) given for 3 levels; give one number of at least 1 for each$"
    with pytest.raises(ValueError, match=sentence):
        per_level([1, 2], 3)
    with pytest.raises(ValueError, match=r"^\(0,\) given for 1 levels"):
        per_level(0, 1)


def test_auxiliary_logits_cover_the_input():
    coarse = [jnp.ones((1, 4, 4, 4, 2)), jnp.ones((1, 2, 2, 2, 2))]
    half, quarter = crop_levels(coarse, (1, 5, 8, 1, 3))
    assert half.shape == (1, 3, 4, 1, 2)
    assert quarter.shape == (1, 2, 2, 1, 2)
