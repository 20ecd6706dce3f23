"""Settings of the network and of the branch: defaults, what a network can do, ranges."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import BranchSettings, ModelSettings
from invseg_jax.models import MODELS, FullInvResSettings, NetworkSettings, UNet3D


@pytest.mark.parametrize("network", MODELS)
def test_the_settings_of_each_network_are_frozen_and_have_defaults(network: str):
    settings = MODELS[network].Settings()
    assert isinstance(settings, NetworkSettings) and len(fields(settings)) > 1
    assert hash(settings) == hash(replace(settings))
    with pytest.raises(FrozenInstanceError):
        settings.channels = (1,)  # pyright: ignore


@pytest.mark.parametrize("network", MODELS)
def test_what_is_left_open_is_as_the_network_does_it_best(network: str):
    model = ModelSettings(network)
    assert model.settings == MODELS[network].Settings()
    assert model.memory == MODELS[network].memories[0]
    assert model.channels == model.network("channels") and len(model.channels) > 1
    assert model.network("novelty") is None


def test_other_settings_of_the_network_s_own():
    model = ModelSettings("FullInvRes").with_network(channels=[4, 8], couplings=3)
    assert model.channels == (4, 8)
    assert model.network("couplings") == 3
    assert model.with_network(couplings=[1, 2]).network("couplings") == (1, 2)
    with pytest.raises(TypeError, match="novelty"):
        model.with_network(novelty=1)
    with pytest.raises(UserError, match="config.model.settings.couplings is 'x', not a whole"):
        model.with_network(couplings="x")


def test_settings_of_another_network_are_refused():
    assert ModelSettings(settings=FullInvResSettings(channels=(8,))).channels == (8,)
    with pytest.raises(UserError, match="UNet3DSettings; FullInvRes takes FullInvResSettings"):
        ModelSettings("FullInvRes", settings=UNet3D.Settings())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "UNet4D"}, "no network is called 'UNet4D'; there are FullInvRes, PartialInvRes"),
        (
            {"name": "UNet3D", "memory": "reversible"},
            "UNet3D can have memory plain or remat and stream float32",
        ),
        ({"name": "UNet3D", "stream": "fixed"}, "UNet3D can have memory plain or remat and stream"),
        ({"memory": "plan"}, "config.model.memory is 'plan'; there are reversible, plain, remat"),
        ({"fraction_bits": 40}, "config.model.fraction_bits"),
        ({"slabs": 0}, "config.model.slabs"),
        ({"loop": "rolled"}, "config.model.loop is 'rolled'; there are "),
    ],
)
def test_what_cannot_be_is_one_line(values: dict, said: str):
    with pytest.raises(UserError) as caught:
        ModelSettings(**values)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_how_layers_are_evaluated():
    execution = ModelSettings(stream="fixed", fraction_bits=12, slabs=2).execution("bfloat16")
    assert (execution.memory, execution.stream) == ("reversible", "fixed")
    assert (execution.fraction_bits, execution.slabs) == (12, 2)
    assert execution.precision == "bfloat16"


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["kl", "reconstruction"])
def test_weights_of_the_branch_out_of_range_are_refused(name: str, value: float):
    with pytest.raises(UserError, match=rf"^config.vae.{name} is .*; give a number of at least 0$"):
        replace(BranchSettings(), **{name: value})


def test_the_branch_has_no_negative_size():
    with pytest.raises(UserError, match="config.vae.latent is -1; it must be at least 0"):
        BranchSettings(latent=-1)
