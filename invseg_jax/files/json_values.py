"""Values as JSON holds them: lists in the place of tuples and back, and their checksum."""

import json
import zlib
from collections.abc import Mapping
from typing import Any, overload

# An object of JSON. What its values are depends on the file, and whoever reads the file checks
# them. A type for all that JSON can hold would need a cast wherever a value is used.
JsonObject = dict[str, Any]


def as_json_values(value: Mapping[str, object]) -> JsonObject:
    """A copy as JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))


@overload
def tuples(value: Mapping[str, object]) -> JsonObject: ...


@overload
def tuples(value: list) -> tuple: ...


def tuples(value: Mapping[str, object] | list) -> JsonObject | tuple:
    """A copy in which lists are tuples, as configurations and dataclasses have them."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(_with_tuples(item) for item in value)


def _with_tuples(value: object) -> object:
    return tuples(value) if isinstance(value, Mapping | list) else value


def json_checksum(value: object) -> int:
    """The CRC-32 of a JSON value; order of keys and blanks in its file do not count."""
    return zlib.crc32(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
