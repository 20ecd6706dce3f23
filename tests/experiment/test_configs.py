"""The files in configs/: each variant is a whole experiment, and says what it promises."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
import pytest
from flax import nnx

from invseg_jax.command import load_config
from invseg_jax.data.layouts import LAYOUTS
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment, ModelSettings, base_experiment, read_experiment
from invseg_jax.experiment.stored import from_json
from invseg_jax.experiment.variants import short_names
from invseg_jax.inference.network import build_model
from invseg_jax.models import MODELS

CONFIGS = Path(__file__).parent.parent.parent / "configs"
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
    + (() if name in ONE_NETWORK else ("-vae", *(f"-{short}" for short in short_names())))
]


def get_config(name: str, variant: str = "") -> Experiment:
    colon = f":{variant}" if variant else ""
    return read_experiment(f"{CONFIGS / name}.py{colon}")


@functools.cache
def parameters_of(model: ModelSettings, modalities: int, classes: int) -> int:
    """Counts without drawing a weight; many variants have the same network."""
    experiment = base_experiment(model.name).changed({"model": model})
    shapes: Any = nnx.eval_shape(lambda: build_model(experiment, modalities, classes))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(shapes)))


def parameters(experiment: Experiment, modalities: int = 2, classes: int = 4) -> int:
    return parameters_of(experiment.model, modalities, classes)


def test_every_network_has_defaults_and_a_short_name():
    assert set(short_names().values()) == set(MODELS) - {"CicekUNet3D"}
    for network in MODELS:
        assert base_experiment(network).model.name == network
        assert parameters_of(ModelSettings(network), 2, 4) > 100_000


def test_the_three_networks_have_equally_many_parameters():
    counts = [parameters(base_experiment(network)) for network in short_names().values()]
    assert len(counts) == 3
    assert max(counts) < 1.02 * min(counts)


def test_every_file_is_known_here():
    # tests/interactive/test_interactive_run.py has the one of another task.
    assert {file.stem for file in CONFIGS.glob("*.py")} == {*PLACES, "interactive"}


@pytest.mark.parametrize("name, variant", VARIANTS)
def test_every_variant_is_a_whole_experiment(name: str, variant: str):
    config = get_config(name, variant)
    # Sections have checked themselves; what is written can be read again.
    assert from_json(json.loads(json.dumps(config.to_json()))) == config
    assert config.loss.regions == (config.data.layout == "brats2020")
    assert config.data.layout in LAYOUTS
    assert 0 <= config.data.fold < config.data.folds
    assert 0 < config.save_every <= config.steps
    assert variant == "tiny" or parameters(config) > 100_000
    short = variant.partition("-")[2]
    if short in short_names():
        assert config.model.name == short_names()[short]


@pytest.mark.parametrize("name", sorted(set(PLACES) - set(ONE_NETWORK)))
@pytest.mark.parametrize("ending", ["", "-partial", "-unet"])
def test_a_variant_adds_the_vae_branch_and_changes_only_the_steps(name: str, ending: str):
    place = PLACES[name][0]
    config, without = get_config(name, f"{place}{ending}-vae"), get_config(name, place + ending)
    assert (config.vae.latent, config.vae.reconstruction, config.vae.kl) == (128, 0.1, 0.1)
    # Where a recipe fills minutes, its steps are fewer, for they take longer.
    assert config.steps in (without.steps, round(without.steps * 2 / 3))
    same = {"vae.latent": 0, "vae.widths": (), "steps": without.steps}
    assert config.changed(same) == without


@pytest.mark.parametrize("name", PLACES)
def test_every_file_has_a_default_variant(name: str):
    assert get_config(name) in [get_config(name, place) for place in PLACES[name]]


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize(
    "variant",
    ["fast", "-unet", "{place}-", "{place}-resnet", "-vae", "{place}-vae-unet", "{place}-vae-vae"],
)
def test_a_wrong_variant_is_answered_with_the_right_ones(name: str, variant: str):
    variant = variant.format(place=PLACES[name][0])
    with pytest.raises(UserError, match=f"variant {variant!r}") as caught:
        get_config(name, variant)
    assert all(place in str(caught.value) for place in PLACES[name])
    endings = () if name in ONE_NETWORK else (*short_names(), "vae")
    assert all(f"-{ending}" in str(caught.value) for ending in endings)


@pytest.mark.parametrize("name", PLACES)
def test_an_empty_variant_is_a_wrong_one(name: str):
    with pytest.raises(UserError, match="variant ''"):
        read_experiment(f"{CONFIGS / name}.py:")


def test_a_configuration_of_one_network_refuses_others():
    with pytest.raises(UserError, match="gpu-unet"):
        get_config("brugger", "gpu-unet")


@pytest.mark.parametrize("classes, count", [(3, 12_365_283), (4, 12_365_344)])
def test_brugger_has_the_parameters_of_the_published_network(classes: int, count: int):
    assert parameters(get_config("brugger"), modalities=4, classes=classes) == count


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
    augment = load_config(str(CONFIGS / f"{file}.py"), changes).augment
    if given is None and file == "hippocampus":
        flip, leaves_open = (0.5, 0.0, 0.0), False  # as the file has it
    assert augment.flip_probabilities == flip
    assert (augment.flip is None) == leaves_open
