"""Values as JSON holds them: lists in the place of tuples and back, and their checksum."""

import json
import zlib
from collections.abc import Mapping
from typing import Any


def as_json_values(value: Any) -> Any:
    """A copy as JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))


def tuples(value: Any) -> Any:
    """A copy in which lists are tuples, as configurations and dataclasses have them."""
    if isinstance(value, Mapping):
        return {key: tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(tuples(item) for item in value)
    return value


def json_checksum(value: Any) -> int:
    """The CRC-32 of a JSON value; order of keys and blanks in its file do not count."""
    return zlib.crc32(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
