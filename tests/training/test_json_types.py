import json
import runpy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from invseg_jax.configuration import base_config
from invseg_jax.models import MODELS
from invseg_jax.training.json_types import config_fault, fields_fault


@dataclass(frozen=True)
class Inner:
    name: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class Outer:
    number: float
    pair: tuple[str, int]
    inner: tuple[Inner, ...]
    either: int | None
    choice: Literal["a", "b"] = "a"
    by_name: dict[str, tuple[float, ...]] | None = None


RIGHT = json.loads(json.dumps(asdict(Outer(1.5, ("x", 2), (Inner("n", (1, 2)),), None))))


def test_what_a_dataclass_gives_has_no_fault():
    assert fields_fault(Outer, RIGHT, complete=True) is None
    assert fields_fault(Outer, RIGHT | {"number": 2, "either": 7}, complete=True) is None
    assert fields_fault(Outer, RIGHT | {"by_name": {"a": [1, 2.5]}}, complete=True) is None


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"number": True}, "number is True, not a number"),
        ({"number": "1"}, "number is '1', not a number"),
        ({"pair": ["x"]}, "pair is ['x'], not a list of 2"),
        ({"pair": ["x", 2.5]}, "pair[1] is 2.5, not a whole number"),
        ({"pair": {"0": "x"}}, "pair is {'0': 'x'}, not a list"),
        ({"inner": [{"name": "n"}]}, "inner[0].values is missing"),
        ({"inner": [3]}, "inner[0] is 3, not an object"),
        ({"inner": [{"name": "n", "values": [None]}]}, "inner[0].values[0] is None, not a whole"),
        ({"inner": [{"name": "n", "values": [], "x": 1}]}, "inner[0].x is unknown"),
        ({"either": "x"}, "either is 'x', not a whole number"),
        ({"choice": "c"}, "choice is 'c', not one of ('a', 'b')"),
        ({"by_name": {"a": ["x"]}}, "by_name is {'a': ['x']}, not an object"),
        ({"other\n": 1}, "other\\n is unknown"),
    ],
)
def test_the_field_with_a_fault_is_named(changes: dict[str, Any], fault: str):
    found = fields_fault(Outer, RIGHT | changes, complete=True)
    if "by_name" in changes:
        fault = "by_name['a'][0] is 'x', not a number"
    assert found is not None and found.startswith(fault)


def test_only_an_earlier_version_may_lack_what_has_a_default():
    for name in RIGHT:
        less = {key: value for key, value in RIGHT.items() if key != name}
        assert fields_fault(Outer, less, complete=True) == f"{name} is missing"
        has_default = name in ("choice", "by_name")
        assert (fields_fault(Outer, less, complete=False) is None) == has_default


def values_of(network: str = "FullInvRes", **options: Any) -> dict[str, Any]:
    return json.loads(json.dumps(base_config(network, **options).to_dict()))


@pytest.mark.parametrize("network", sorted(MODELS))
def test_every_network_s_configuration_is_right(network: str):
    for vae in (False, True):
        assert config_fault(values_of(network, vae=vae), complete=True) is None


def test_the_configurations_of_the_checkout_are_right(repository: Path):
    files = sorted((repository / "configs").glob("*.py"))
    assert len(files) > 3
    for file in files:
        config = runpy.run_path(str(file))["get_config"]()
        values = json.loads(json.dumps(config.to_dict()))
        assert config_fault(values, complete=True) is None, file


def changed(path: str, value: Any) -> dict[str, Any]:
    values = values_of()
    *sections, key = path.split(".")
    section = values
    for name in sections:
        section = section[name]
    section[key] = value
    return values


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
    ],
)
def test_other_values_of_the_same_type_are_right(path: str, value: Any):
    assert config_fault(changed(path, value), complete=True) is None


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
        ("data.patch", [8, 8, 8.5], "config.data.patch[2] is 8.5, not a whole number"),
        ("data.cases", [{}], "config.data.cases is [{}], not a list of"),
        ("inference.mirror", [0, 0, 1], "config.inference.mirror[0] is 0, not true or false"),
        ("model.name", "Nothing", "config.model.name is 'Nothing', and there is no such network"),
        ("model.name", ["x"], "config.model.name is ['x'], and there is no such network"),
        ("model", 3, "config.model is 3, not an object"),
        ("model.settings.width", 3, "config.model.settings.width is unknown"),
        ("data.embedded", {"subjects": 3}, "config.data.embedded.seed is missing"),
    ],
)
def test_the_setting_with_a_fault_is_named(path: str, value: Any, fault: str):
    found = config_fault(changed(path, value), complete=True)
    assert found is not None and found.startswith(fault)


def test_an_earlier_version_lacks_keys_but_not_its_network():
    values = values_of()
    del values["loss"], values["inference"]["mirror"]
    assert config_fault(values, complete=False) is None
    assert config_fault(values, complete=True) == "config.loss is missing"
    del values["model"]["name"]
    assert config_fault(values, complete=False) == "config.model.name is missing"
    assert config_fault({}, complete=False) == "config.model is missing"
