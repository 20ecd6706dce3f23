import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest

from invseg_jax.files.json_types import fields_fault


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
