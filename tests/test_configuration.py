import functools
import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

import jax
import pytest
from absl import flags
from flax import nnx
from ml_collections import ConfigDict, config_flags

from invseg_jax.command import load_config
from invseg_jax.configuration import SHORT_NAMES, Config, base_config, parse_variant
from invseg_jax.data.augment import Augmentation
from invseg_jax.data.layouts import LAYOUTS
from invseg_jax.data.preprocess import Preprocessing
from invseg_jax.errors import UserError
from invseg_jax.inference.network import build_model
from invseg_jax.models import MODELS
from invseg_jax.training.losses import LossSettings
from invseg_jax.training.state import OptimiserSettings

CONFIGS = Path(__file__).parent.parent / "configs"
PLACES = {
    "brats": ("gpu", "brats2020"),
    "brugger": ("gpu",),
    "cicek": ("gpu", "tiny"),
    "hippocampus": ("cpu", "gpu", "sparse", "semi"),
    "iseg": ("quick", "cpu", "full"),
    "sarcoma": ("cpu", "gpu"),
}
ONE_NETWORK = ("brugger", "cicek")
VARIANTS = [
    (name, place + ending)
    for name, places in PLACES.items()
    for place in places
    for ending in ("",)
    + (() if name in ONE_NETWORK else ("-vae", *(f"-{short}" for short in SHORT_NAMES)))
]


def get_config(name: str, *variant: str) -> Config:
    spec = importlib.util.spec_from_file_location(f"config_{name}", CONFIGS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*variant)


@functools.cache
def parameters_of(model: str, modalities: int, classes: int) -> int:
    described = json.loads(model)
    config = base_config(described["name"])
    config.model = ConfigDict(described)
    shapes: Any = nnx.eval_shape(lambda: build_model(config, modalities, classes))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(shapes)))


def parameters(config: Config, modalities: int = 2, classes: int = 4) -> int:
    """Counts without drawing a weight; many variants have the same network."""
    return parameters_of(config.model.to_json(), modalities, classes)


def test_every_network_has_defaults_and_a_short_name():
    assert set(SHORT_NAMES.values()) == set(MODELS) - {"CicekUNet3D"}
    for network in MODELS:
        config = base_config(network)
        assert config.model.name == network
        assert parameters(config) > 100_000


def test_the_three_networks_have_equally_many_parameters():
    counts = [parameters(base_config(network)) for network in SHORT_NAMES.values()]
    assert len(counts) == 3
    assert max(counts) < 1.02 * min(counts)


def test_the_settings_are_all_that_each_network_takes():
    for network, build in MODELS.items():
        settings = set(base_config(network).model.settings)
        taken = set(build.__init__.__kwdefaults__ or {})
        assert settings == taken - {"execution", "vae"}


def test_every_file_is_known_here():
    assert {file.stem for file in CONFIGS.glob("*.py")} == set(PLACES)


@pytest.mark.parametrize("name, variant", VARIANTS)
def test_every_variant_is_a_whole_configuration(name: str, variant: str):
    config = get_config(name, variant)
    assert config.is_locked
    defaults = base_config(config.model.name)
    assert set(config) == set(defaults)
    # Only values of the defaults' types, so that a value on the command line is read as such.
    for group in ("augment", "loss", "optimiser", "inference"):
        for key, value in config[group].items():
            # That of a value that is left open is known to its group alone.
            wanted = defaults[group].get_type(key)
            assert value is None or type(value) is wanted, f"{group}.{key}"
    Augmentation.of(config)
    Preprocessing.of(config)
    OptimiserSettings(**config.optimiser)
    assert LossSettings(**config.loss).regions == (config.data.layout == "brats2020")
    assert config.data.layout in LAYOUTS
    assert 0 <= config.data.fold < config.data.folds
    assert 0 <= config.data.foreground <= 1
    assert 0 <= config.inference.overlap < 1
    assert len(config.data.patch) == 3
    assert 0 < config.save_every <= config.steps
    assert json.loads(json.dumps(config.to_dict()))["steps"] == config.steps
    assert variant == "tiny" or parameters(config) > 100_000
    short = variant.partition("-")[2]
    if short in SHORT_NAMES:
        assert config.model.name == SHORT_NAMES[short]


@pytest.mark.parametrize("name", sorted(set(PLACES) - set(ONE_NETWORK)))
@pytest.mark.parametrize("ending", ["", "-partial", "-unet"])
def test_a_variant_adds_the_vae_branch_and_changes_only_the_steps(name: str, ending: str):
    place = PLACES[name][0]
    config, without = get_config(name, f"{place}{ending}-vae"), get_config(name, place + ending)
    assert (config.vae.latent, config.vae.reconstruction, config.vae.kl) == (128, 0.1, 0.1)
    # Where a recipe fills minutes, its steps are fewer, for they take longer.
    assert config.steps in (without.steps, round(without.steps * 2 / 3))
    config.vae.latent, config.vae.widths, config.steps = 0, (), without.steps
    assert config.to_dict() == without.to_dict()


@pytest.mark.parametrize("name", PLACES)
def test_every_file_has_a_default_variant(name: str):
    default = get_config(name).to_dict()
    assert default in [get_config(name, place).to_dict() for place in PLACES[name]]


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(
    "variant",
    [
        "fast",
        "",
        "-unet",
        "{place}-",
        "{place}-resnet",
        "-vae",
        "{place}-vae-unet",
        "{place}-vae-vae",
    ],
)
def test_a_wrong_variant_is_answered_with_the_right_ones(name: str, variant: str):
    variant = variant.format(place=PLACES[name][0])
    with pytest.raises(UserError, match=f"variant {variant!r}") as caught:
        get_config(name, variant)
    assert all(place in str(caught.value) for place in PLACES[name])
    endings = () if name in ONE_NETWORK else (*SHORT_NAMES, "vae")
    assert all(f"-{ending}" in str(caught.value) for ending in endings)


def test_a_configuration_of_one_network_refuses_others():
    with pytest.raises(UserError, match="gpu-unet"):
        get_config("brugger", "gpu-unet")


def test_parse_variant():
    assert parse_variant("cpu", ("cpu", "gpu")) == ("cpu", "FullInvRes", False)
    assert parse_variant("gpu-full", ("cpu", "gpu")) == ("gpu", "FullInvRes", False)
    assert parse_variant("gpu-partial", ("cpu", "gpu")) == ("gpu", "PartialInvRes", False)
    assert parse_variant("cpu-unet", ("cpu", "gpu")) == ("cpu", "UNet3D", False)
    assert parse_variant("cpu-vae", ("cpu", "gpu")) == ("cpu", "FullInvRes", True)
    assert parse_variant("gpu-partial-vae", ("cpu", "gpu")) == ("gpu", "PartialInvRes", True)


@pytest.mark.parametrize("classes, count", [(3, 12_365_283), (4, 12_365_344)])
def test_brugger_has_the_parameters_of_the_published_network(classes: int, count: int):
    assert parameters(get_config("brugger"), modalities=4, classes=classes) == count


def test_a_misspelt_key_is_refused_with_a_suggestion():
    config = base_config()
    with pytest.raises(AttributeError, match='"learning_rate"'):
        config.optimiser.learning_rat = 1.0
    with pytest.raises(TypeError):
        config.steps = "many"


@pytest.mark.parametrize(
    "change, said",
    [
        ({"name": "UNet4D"}, "UNet4D.*FullInvRes"),
        ({"name": "UNet3D"}, "UNet3D.*unexpected"),
        ({"settings.channels": (4, 12)}, r"\(4, 12\).*multiple of 8"),
        ({"settings.auxiliary": 9}, "auxiliary 9"),
    ],
)
def test_a_network_that_cannot_be_is_an_error_of_the_user(change: dict, said: str):
    config = base_config("FullInvRes")
    config.model.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=f"^config.model: .*{said}.*$") as caught:
        build_model(config, 1, 2)
    assert "\n" not in str(caught.value)


# ml_collections loads files so.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize(
    "given, flip, leaves_open",
    [
        (None, (0.5, 0.5, 0.5), True),
        ("None", (0.5, 0.5, 0.5), True),
        ("(0.5, 0.5, 0.5)", (0.5, 0.5, 0.5), False),
        ("(0,0.5,0.5)", (0.0, 0.5, 0.5), False),
        ("[0.5,0,0]", (0.5, 0.0, 0.0), False),
    ],
)
@pytest.mark.parametrize("file", ["brats", "hippocampus"])
def test_a_flip_can_be_given_on_the_command_line(
    file: str, given: str | None, flip: tuple, leaves_open: bool
):
    changes = [] if given is None else [f"augment.flip={given}"]
    config = load_config(str(CONFIGS / f"{file}.py"), changes)
    if given is None and file == "hippocampus":
        flip, leaves_open = (0.5, 0.0, 0.0), False  # as the file has it
    assert Augmentation.of(config).flip == flip
    assert Augmentation.leaves_flip_open(config) == leaves_open


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("given", ["0.5", "()", "(0.5,0.5)", "(0.5,0.5,2)"])
def test_a_wrong_flip_is_one_line(given: str):
    config = load_config(str(CONFIGS / "brats.py"), [f"augment.flip={given}"])
    with pytest.raises(UserError, match=r"^config.augment.flip = \(.*: give [^\n]*$"):
        Augmentation.of(config)


@pytest.mark.parametrize("spacing", [None, (1.0, 1.5, 3.0)])
def test_a_spacing_can_be_given_on_the_command_line(spacing, monkeypatch: pytest.MonkeyPatch):
    given = ["train", "--config.data.preprocess.normalisation=ct"]
    given += [] if spacing is None else ["--config.data.preprocess.spacing=(1, 1.5, 3)"]
    monkeypatch.setattr(sys, "argv", given)
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", base_config(), flag_values=values)
    values(given)
    settings = Preprocessing.of(values.config.copy_and_resolve_references())
    assert (settings.spacing, settings.normalisation) == (spacing, ("ct",))
