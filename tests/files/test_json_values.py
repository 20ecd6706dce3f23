import json
from types import MappingProxyType
from typing import Any

import pytest

from invseg_jax.files.json_values import as_json_values, json_checksum, tuples

VALUE: dict[str, Any] = {"b": (1, (2.5, "x")), "a": [{"c": ()}], "n": None}
# Of the bytes {"a":[1,2],"b":true}, taken with another program.
CHECKSUM = 1824248272


def test_tuples_become_lists_and_lists_tuples():
    assert as_json_values(VALUE) == {"b": [1, [2.5, "x"]], "a": [{"c": []}], "n": None}
    assert tuples(as_json_values(VALUE)) == {"b": (1, (2.5, "x")), "a": ({"c": ()},), "n": None}
    assert tuples(MappingProxyType({"a": [1]})) == {"a": (1,)}


@pytest.mark.parametrize("indent", [None, 3])
def test_the_checksum_is_of_the_values_and_not_of_their_layout(indent: int | None):
    shuffled = dict(reversed(VALUE.items()))
    again = json.loads(json.dumps(shuffled, indent=indent))
    assert json_checksum(again) == json_checksum(VALUE)
    assert json_checksum({"b": True, "a": (1, 2)}) == CHECKSUM
    assert json_checksum({"b": True, "a": (2, 1)}) != CHECKSUM
