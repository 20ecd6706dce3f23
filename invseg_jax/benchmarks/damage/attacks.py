"""Ways to damage a file on disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Each damages one file and says how, in a few words.
Attack = Callable[[Path, np.random.Generator], str]


def flip_bit(path: Path, rng: np.random.Generator) -> str:
    """Turns over one bit."""
    content = bytearray(path.read_bytes())
    if not content:
        path.write_bytes(b"\0")
        return "a byte added"
    bit = int(rng.integers(8 * len(content)))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"bit {bit}"


def cut(path: Path, rng: np.random.Generator) -> str:
    """Cuts at least one byte off the end of a file."""
    content = path.read_bytes()
    kept = int(rng.integers(len(content))) if content else 0
    path.write_bytes(content[:kept])
    return f"cut to {kept} of {len(content)} bytes"


def empty(path: Path, rng: np.random.Generator) -> str:
    """Leaves nothing in a file."""
    del rng
    path.write_bytes(b"")
    return "emptied"


def delete(path: Path, rng: np.random.Generator) -> str:
    """Deletes a file."""
    del rng
    path.unlink()
    return "deleted"


def remove_key(path: Path, rng: np.random.Generator) -> str:
    """Takes one entry out of an object of a JSON file."""
    content, holder, key = _some_entry(path, rng)
    del holder[key]
    path.write_text(json.dumps(content, indent=1) + "\n")
    return f"{key!r} removed"


def rename_key(path: Path, rng: np.random.Generator) -> str:
    """Gives one entry of a JSON file another name."""
    content, holder, key = _some_entry(path, rng)
    holder[f"{key}_"] = holder.pop(key)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return f"{key!r} renamed"


def change_type(path: Path, rng: np.random.Generator) -> str:
    """Puts a value of another type in the place of one in a JSON file."""
    content, holder, key = _some_entry(path, rng)
    others: list[Any] = [None, 3, "text", [], {}, [1, "a"]]
    others = [value for value in others if type(value) is not type(holder[key])]
    holder[key] = others[int(rng.integers(len(others)))]
    path.write_text(json.dumps(content, indent=1) + "\n")
    return f"{key!r} is {holder[key]!r}"


def _some_entry(path: Path, rng: np.random.Generator) -> tuple[Any, dict[str, Any], str]:
    """A JSON file's content, one of its objects at any depth, and one of that object's keys."""
    content = json.loads(path.read_text())
    entries = list(_entries(content))
    holder, key = entries[int(rng.integers(len(entries)))]
    return content, holder, key


def _entries(value: Any) -> list[tuple[dict[str, Any], str]]:
    if isinstance(value, list):
        return [entry for item in value for entry in _entries(item)]
    if not isinstance(value, dict):
        return []
    inner = [entry for item in value.values() for entry in _entries(item)]
    return [(value, key) for key in value] + inner


OF_ANY_FILE: dict[str, Attack] = {
    "one bit flipped": flip_bit,
    "cut short": cut,
    "emptied": empty,
    "deleted": delete,
}
OF_JSON: dict[str, Attack] = {
    "key removed": remove_key,
    "key renamed": rename_key,
    "value of another type": change_type,
}
