"""Experiments as JSON, written and read back."""

import json
from pathlib import Path
from typing import Any

import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import base_experiment, read_experiment
from invseg_jax.experiment.stored import from_json
from invseg_jax.models import MODELS


def values_of(network: str = "FullInvRes", **options: Any) -> dict[str, Any]:
    return json.loads(json.dumps(base_experiment(network, **options).to_json()))


def changed(path: str, value: Any) -> dict[str, Any]:
    values = values_of()
    *sections, key = path.split(".")
    section = values
    for name in sections:
        section = section[name]
    section[key] = value
    return values


@pytest.mark.parametrize("network", sorted(MODELS))
def test_every_network_s_experiment_comes_back(network: str):
    for vae in (False, True):
        experiment = base_experiment(network, vae=vae)
        assert from_json(values_of(network, vae=vae)) == experiment
        assert from_json(experiment.to_json()).to_json() == experiment.to_json()


def test_the_configurations_of_the_checkout_come_back(repository: Path):
    files = sorted((repository / "configs").glob("*.py"))
    assert len(files) > 3
    for file in files:
        experiment = read_experiment(str(file))
        assert from_json(json.loads(json.dumps(experiment.to_json()))) == experiment, file


def test_tuples_are_lists_and_sections_are_objects():
    values: Any = base_experiment().to_json()
    assert values["data"]["patch"] == [64, 64, 64] and values["data"]["embedded"] is None
    assert values["model"]["settings"]["channels"] == [32, 64, 128, 256]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("data.preprocess.spacing", [1.0, 1, 2.5]),
        ("augment.scale", [1, 2]),
        ("optimiser.learning_rate", 1),
        ("optimiser.clip", float("inf")),
        ("data.cases", ["a", "b"]),
        ("data.plain.images", [["mr", "*.nii"], ["pet", "*.nii"]]),
        ("model.settings.channels", [4, 8]),
        ("data.embedded", {"subjects": 3, "spacing": 1.0, "seed": 0}),
    ],
)
def test_other_values_of_the_same_type_are_right(path: str, value: Any):
    found: Any = from_json(changed(path, value)).to_json()
    for name in path.split("."):
        found = found[name]
    assert found == value


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("steps", "many", "config.steps is 'many', not a whole number"),
        ("steps", 2.5, "config.steps is 2.5, not a whole number"),
        ("steps", True, "config.steps is True, not a whole number"),
        ("optimiser.clip", None, "config.optimiser.clip is None, not a number"),
        ("optimiser.nesterov", 1, "config.optimiser.nesterov is 1, not true or false"),
        ("data.preprocess.spacing", 1.0, "config.data.preprocess.spacing is 1.0, not a list"),
        ("data.preprocess", [], "config.data.preprocess is [], not an object"),
        ("data.preprocess", None, "config.data.preprocess is None, not a Preprocessing"),
        ("data.patch", [8, 8, 8.5], "config.data.patch[2] is 8.5, not a whole number"),
        ("data.cases", [{}], "config.data.cases[0] is {}, not a text"),
        ("inference.mirror", [0, 0, 1], "config.inference.mirror[0] is 0, not true or false"),
        (
            "model.name",
            "Nothing",
            "config.model.name is 'Nothing': no network is",
        ),
        ("model.name", ["x"], "config.model.name is ['x'], not a text"),
        ("model", 3, "config.model is 3, not an object"),
        ("model.settings.width", 3, "config.model.settings.width is unknown"),
        ("data.embedded", {"subjects": 3, "spacing": 1.0}, "config.data.embedded.seed is missing"),
        ("optimiser.warmup", 5000, "config.optimiser.warmup is 5000; the run has only 1000 steps"),
        ("odd\n", 1, "config.odd\\n is unknown"),
    ],
)
def test_the_setting_with_a_fault_is_named(path: str, value: Any, fault: str):
    with pytest.raises(UserError) as caught:
        from_json(changed(path, value))
    assert str(caught.value).startswith(fault)


def test_an_earlier_version_lacks_keys_but_not_its_network():
    values = values_of()
    del values["loss"], values["inference"]["mirror"], values["model"]["settings"]["groups"]
    assert from_json(values, complete=False) == base_experiment()
    with pytest.raises(UserError, match="^config.model.settings.groups is missing$"):
        from_json(values)
    del values["model"]["name"]
    with pytest.raises(UserError, match="^config.model.name is missing$"):
        from_json(values, complete=False)
    with pytest.raises(UserError, match="^config.model is missing$"):
        from_json({}, complete=False)
    with pytest.raises(UserError, match=r"^config is \[\], not an object$"):
        from_json([], complete=False)
