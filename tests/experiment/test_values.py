"""Values brought to the types that settings declare, from Python, JSON and the command line."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import Preprocessing
from invseg_jax.experiment.values import annotations, fitted, from_text

Three = tuple[float, float, float] | None
Pairs = tuple[tuple[str, int], ...]
Name = Literal["a", "b"]
Counts = int | tuple[int, ...]


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (float, np.float64(0.5), 0.5),
        (float, math.inf, math.inf),
        (str, "x", "x"),
        (bool, True, True),
        (Name, "b", "b"),
        (Three, None, None),
        (Three, [1, 2, 3.5], (1.0, 2.0, 3.5)),
        (Pairs, [["a", 1], ["b", 2]], (("a", 1), ("b", 2))),
        (Pairs, (), ()),
        (Counts, 2, 2),
        (Counts, [1, 2], (1, 2)),
        (tuple, [1, "x"], (1, "x")),
        (Preprocessing, Preprocessing(), Preprocessing()),
    ],
)
def test_a_value_of_the_type_is_brought_to_it(annotation: Any, value: Any, expected: Any):
    found = fitted(annotation, value, "config.x")
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "fault"),
    [
        (int, 3.0, "config.x is 3.0, not a whole number"),
        (int, True, "config.x is True, not a whole number"),
        (int, "3", "config.x is '3', not a whole number"),
        (float, True, "config.x is True, not a number"),
        (float, None, "config.x is None, not a number"),
        (float, 10**400, "config.x is 1000"),
        (bool, 1, "config.x is 1, not true or false"),
        (str, 1, "config.x is 1, not a text"),
        (Name, "c", "config.x is 'c'; there are a, b"),
        (Three, (1, 2), "config.x is (1, 2); give 3 numbers"),
        (Three, "abc", "config.x is 'abc', not a list of numbers"),
        (Three, (1, 2, "x"), "config.x[2] is 'x', not a number"),
        (Pairs, {"a": 1}, "config.x is {'a': 1}, not a list of values"),
        (Pairs, [["a"]], "config.x[0] is ['a']; give 2 texts"),
        (Pairs, [["a", 1.5]], "config.x[0][1] is 1.5, not a whole number"),
        (Counts, "x", "config.x is 'x', not a whole number"),
        (Preprocessing, {"crop": True}, "config.x is {'crop': True}, not a Preprocessing"),
    ],
)
def test_a_value_of_another_type_is_named(annotation: Any, value: Any, fault: str):
    with pytest.raises(UserError) as caught:
        fitted(annotation, value, "config.x")
    assert str(caught.value).startswith(fault)


def test_a_long_value_is_shown_in_short():
    with pytest.raises(UserError) as caught:
        fitted(int, "x" * 500, "config.x")
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (int, "3", 3),
        (float, "2e-3", 0.002),
        (float, "inf", math.inf),
        (float, "1", 1.0),
        (str, "3", "3"),
        (str, "", ""),
        (str, "None", "None"),
        (bool, "True", True),
        (bool, "f", False),
        (bool, "0", False),
        (Name, "a", "a"),
        (Three, "None", None),
        (Three, "(1, 1.5, 3)", (1.0, 1.5, 3.0)),
        (Three, "1,1.5,3", (1.0, 1.5, 3.0)),
        (Three, "[1, 1.5, 3]", (1.0, 1.5, 3.0)),
        (tuple[str, ...], "ct", ("ct",)),
        (tuple[str, ...], "ct, z_score", ("ct", "z_score")),
        (tuple[str, ...], "('a','b')", ("a", "b")),
        (tuple[str, ...], "(1, 2)", ("1", "2")),
        (tuple[str, ...], "007,008", ("007", "008")),
        (tuple[str, ...], "()", ()),
        (tuple[Name, ...], "b", ("b",)),
        (tuple[int, ...], "8", (8,)),
        (Counts, "3", 3),
        (Counts, "(1, 2)", (1, 2)),
        (Pairs, "(('a', 1), ('b', 2))", (("a", 1), ("b", 2))),
    ],
)
def test_a_text_stands_for_a_value(annotation: Any, text: str, expected: Any):
    found = from_text(annotation, text, "config.x")
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "text", "fault"),
    [
        (int, "many", "config.x is 'many', not a whole number"),
        (int, "2.5", "config.x is '2.5', not a whole number"),
        (int, "None", "config.x is 'None', not a whole number"),
        (float, "fast", "config.x is 'fast', not a number"),
        (bool, "yes", "config.x is 'yes', not true or false"),
        (Name, "c", "config.x is 'c'; there are a, b"),
        (Three, "0.5", "config.x is (0.5,); give 3 numbers"),
        (Three, "()", "config.x is (); give 3 numbers"),
        (Three, "x", "config.x is ('x',); give 3 numbers"),
        (Three, "(1, 2", "config.x is ('1', '2'); give 3 numbers"),
    ],
)
def test_a_text_that_stands_for_none_is_named(annotation: Any, text: str, fault: str):
    with pytest.raises(UserError) as caught:
        from_text(annotation, text, "config.x")
    assert str(caught.value) == fault


@pytest.mark.parametrize("text", ["(" * 500, "__import__('os').abort()", "1" * 9999, "\0"])
def test_no_text_is_run_or_breaks_the_reader(text: str):
    with pytest.raises(UserError):
        from_text(Three, text, "config.x")


def test_the_types_of_a_dataclass_are_those_of_its_fields_in_order():
    @dataclass
    class Some:
        b: "int"
        a: str = ""

    assert annotations(Some) == {"b": int, "a": str}
    assert list(annotations(Some)) == ["b", "a"]
    with pytest.raises(TypeError, match="no rule for values of the type"):
        fitted(set, {1}, "config.x")
