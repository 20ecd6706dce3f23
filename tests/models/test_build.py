from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.models import MODELS, FullInvResSettings, build, find, names
from invseg_jax.models.outputs import Outputs, crop_levels, per_level

CHANNELS = {"UNet3D": (4, 6), "PartialInvRes": (4, 6), "FullInvRes": (4, 8), "CicekUNet3D": (4, 8)}
# Without deep supervision, where a network has it.
NO_HEADS = {name: {} if name == "CicekUNet3D" else {"auxiliary": 0} for name in CHANNELS}
SMALL = {
    name: replace(find(name).Settings(), **({"channels": channels} | NO_HEADS[name]))
    for name, channels in CHANNELS.items()
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
    model = nnx.eval_shape(lambda: build(name, 2, 4, seed=0))
    assert sum(leaf.size for leaf in weights(model)) > 1_000_000


def test_an_unknown_name_is_refused():
    sentence = (
        r"^no network is called 'VNet'; there are FullInvRes, PartialInvRes, UNet3D, CicekUNet3D"
    )
    with pytest.raises(ValueError, match=sentence):
        build("VNet", 1, 2)


def test_a_similar_name_is_suggested():
    with pytest.raises(ValueError, match=r"did you mean UNet3D\?"):
        find("UNet")


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"^auxiliary 4: there are 3 coarser levels$"):
        build("FullInvRes", 1, 2, FullInvResSettings(auxiliary=4))


def test_a_mistake_inside_of_a_constructor_is_no_error_of_the_user(monkeypatch):
    def broken(*args, **settings):
        raise TypeError("a mistake of the programmer")

    monkeypatch.setattr(MODELS["UNet3D"], "__init__", broken)
    with pytest.raises(TypeError, match="a mistake of the programmer"):
        build("UNet3D", 1, 2)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_network_answers_for_itself(name):
    network = find(name)
    model = nnx.eval_shape(lambda: build(name, 2, 3, SMALL[name]))
    assert name in names()
    assert set(network.memories) <= {"reversible", "plain", "remat"}
    assert model.channels == CHANNELS[name]
    size = (20, 20, 20) if model.margin else (5, 3, 4)
    model.check_patch(size)
    pieces = list(model.trunks(2, size, 1))
    key = jax.random.key(0)
    for piece, x in pieces:
        assert jax.eval_shape(lambda piece, x: piece(x, key), piece, x) is not None


def test_what_a_network_cannot_do_is_said_by_it():
    assert "reversible" not in find("UNet3D").memories
    assert find("FullInvRes").memories[0] == "reversible"
    model = nnx.eval_shape(lambda: build("CicekUNet3D", 1, 2, SMALL["CicekUNet3D"]))
    assert model.mixes_batch and model.margin > 0
    with pytest.raises(ValueError, match="do not fit 2 levels"):
        model.check_patch((21, 20, 20))


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
