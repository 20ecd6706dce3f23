"""The `dataset.json` that the Decathlon and nnU-Net put beside their images.

It comes with the data, from elsewhere: whatever is used of it is checked first.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TypeGuard

from invseg_jax.data.layouts.names import Folders, ending_of
from invseg_jax.errors import UserError
from invseg_jax.files.json_values import JsonObject
from invseg_jax.files.missing import NO_SUCH_FILE, why_missing


def read_description(root: Path, whose: str) -> tuple[JsonObject, Path]:
    """Reads `dataset.json`.

    Args:
        root: the data set's folder.
        whose: name of the layout, for the error.

    Returns:
        The JSON object, and its file.

    Raises:
        UserError: there is no such file, or it holds no JSON object.
    """
    description = root / "dataset.json"
    if not description.is_file():
        if (reason := why_missing(description)) != NO_SUCH_FILE:
            raise UserError(f"{description}: {reason}")
        raise UserError(f"{root}: no {whose} data set; looked for dataset.json there")
    try:
        # From bytes, so that a byte order mark tells the encoding, as Windows writes it.
        content = json.loads(description.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{description}: cannot be read as JSON ({error}); mend it") from error
    if not isinstance(content, dict):
        raise UserError(f"{description}: not a JSON object; mend it")
    return content, description


def numbered_names(content: JsonObject, key: str, description: Path) -> dict[int, str]:
    """An object such as {"0": "MRI", "1": "CT"}, by number in rising order.

    Raises:
        UserError: it is no such object.
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


def channel_names(content: JsonObject, key: str, description: Path) -> tuple[str, ...]:
    """The names of the image channels, numbered from 0 on.

    Raises:
        UserError: there are no such names, or a number is missing.
    """
    names = numbered_names(content, key, description)
    if tuple(names) != tuple(range(len(names))):
        raise UserError(f'{description}: "{key}" is numbered {list(names)}; number it from 0 on')
    return tuple(names.values())


def own_name(content: JsonObject, root: Path) -> str:
    """What the data set calls itself; its folder's name where it does not."""
    name = content.get("name")
    return name if isinstance(name, str) and name else root.resolve().name


def is_path(entry: object) -> TypeGuard[str]:
    """Whether an entry is a text that can be the path of a file."""
    if not isinstance(entry, str) or not entry or "\0" in entry:
        return False
    try:
        os.fsencode(entry)
    except UnicodeEncodeError:
        return False
    return True


def refuse_version_1(content: JsonObject, root: Path, description: Path, folders: Folders) -> None:
    """Refuses a data set of nnU-Net's version 1.

    Its `dataset.json` is like the Decathlon's and lists "./imagesTr/CASE.nii.gz", while the files
    on disk have a channel in their names, as in version 2: imagesTr/CASE_0000.nii.gz.

    Raises:
        UserError: it is such a data set: no listed image is there, but the first channel of one is.
        OSError: a folder cannot be read.
    """
    if "modality" not in content:
        return
    entries = content.get("training")
    first = None
    for entry in entries if isinstance(entries, list) else []:
        image = entry.get("image") if isinstance(entry, dict) else None
        if not is_path(image) or not (end := ending_of(image)):
            continue
        if os.path.lexists(folders.find(root, image)):
            return
        channel = f"{image.removesuffix(end)}_0000{end}"
        if first is None and os.path.lexists(folders.find(root, channel)):
            first = image, channel
    if first is not None:
        raise UserError(
            f"{description}: a data set of nnU-Net's version 1, which lists {first[0]} where the "
            f"file is {first[1]}; convert it with nnU-Net's nnUNetv2_convert_old_nnUNet_dataset "
            "and give the layout nnunet"
        )
