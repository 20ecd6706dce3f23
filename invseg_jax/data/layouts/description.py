"""The `dataset.json` that the Decathlon and nnU-Net put beside their images.

It comes with the data, from elsewhere: whatever is used of it is checked first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from invseg_jax.errors import UserError


def read_description(root: Path, whose: str) -> tuple[dict[str, Any], Path]:
    """Reads `dataset.json`.

    Args:
        root: the data set's folder.
        whose: name of the layout, for the error.

    Returns:
        The JSON object, and the file that it is from.

    Raises:
        UserError: there is none, or it is no JSON object.
    """
    description = root / "dataset.json"
    if not description.is_file():
        raise UserError(f"{root}: no {whose} data set; looked for dataset.json there")
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{description}: cannot be read as JSON ({error}); mend it") from error
    if not isinstance(content, dict):
        raise UserError(f"{description}: not a JSON object; mend it")
    return content, description


def numbered_names(content: dict[str, Any], key: str, description: Path) -> dict[int, str]:
    """An object such as {"0": "MRI", "1": "CT"}, by number in rising order.

    Raises:
        UserError: it is none.
    """
    entries = content.get(key)
    good = (
        isinstance(entries, dict)
        and bool(entries)
        and all(
            number.isascii()
            and number.isdecimal()
            and len(number) < 6
            and isinstance(name, str)
            and name
            for number, name in entries.items()
        )
    )
    if not isinstance(entries, dict) or not good:
        raise UserError(f'{description}: "{key}" is not an object such as {{"0": "name"}}; mend it')
    numbered = {int(number): entries[number] for number in sorted(entries, key=int)}
    if len(numbered) < len(entries):
        raise UserError(f'{description}: "{key}" has a number twice; mend it')
    return numbered


def channel_names(content: dict[str, Any], key: str, description: Path) -> tuple[str, ...]:
    """The names of the image channels, numbered from 0 on.

    Raises:
        UserError: they are not.
    """
    names = numbered_names(content, key, description)
    if tuple(names) != tuple(range(len(names))):
        raise UserError(f'{description}: "{key}" is numbered {list(names)}; number it from 0 on')
    return tuple(names.values())


def own_name(content: dict[str, Any], root: Path) -> str:
    """What the data set calls itself; its folder's name where it does not."""
    name = content.get("name")
    return name if isinstance(name, str) and name else root.resolve().name
