"""Medical Segmentation Decathlon: a `dataset.json` that lists images, label maps and classes.

What is used of the file is checked, and a path in it that leads out of the data set's folder is
refused (Antonelli et al., Nature Communications 13, 4128, 2022).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from invseg_jax.data.layouts.case import Case, Dataset, ordered, some
from invseg_jax.data.layouts.description import (
    channel_names,
    is_path,
    numbered_names,
    own_name,
    read_description,
    refuse_version_1,
)
from invseg_jax.data.layouts.names import Folders, ending_of, without_ending
from invseg_jax.data.volumes.nifti import MAX_LABEL
from invseg_jax.errors import UserError
from invseg_jax.files.json_values import JsonObject


def open_folder(root: Path) -> Dataset:
    """Lists the cases: "training" with label maps, "test" without.

    The modalities of a case are the last axis of its one image file. Files whose name starts
    with "._" (left by macOS archives) are passed over. Names are found in any spelling (see
    `names`).

    Raises:
        UserError: `dataset.json` is missing, is not as in the Decathlon (but as in nnU-Net's
            version 1, for example), names a file outside of the folder, or lists no case.
    """
    content, description = read_description(root, "Decathlon")
    folders = Folders()
    refuse_version_1(content, root, description, folders)
    if "modality" not in content and "channel_names" in content:
        raise UserError(
            f'{description}: has "channel_names", not "modality"; it is in the layout nnunet'
        )
    modalities = channel_names(content, "modality", description)
    labels = numbered_names(content, "labels", description)
    if 0 not in labels or not 2 <= len(labels) <= 256:
        raise UserError(
            f'{description}: "labels" has {len(labels)} entries, with the values '
            f'{some(list(labels))}; it needs "0", the background, and 1 to 255 classes'
        )
    if max(labels) > MAX_LABEL:
        raise UserError(
            f'{description}: "labels" has the value {max(labels)}; they go to {MAX_LABEL}, '
            "renumber the label maps"
        )
    classes = ("background", *(name for value, name in labels.items() if value != 0))
    if len(set(classes)) < len(classes):
        raise UserError(f'{description}: "labels" has a name twice; give every class its own')

    cases = [
        *_training(content, root, description, folders),
        *_test(content, root, description, folders),
    ]
    if not cases:
        raise UserError(
            f'{description}: no case in "training" or "test"; is this the whole data set?'
        )
    return Dataset(
        own_name(content, root),
        root,
        modalities,
        classes,
        tuple(labels),
        ordered(cases),
    )


def _training(content: JsonObject, root: Path, description: Path, folders: Folders) -> list[Case]:
    cases = []
    for i, entry in enumerate(_list(content, "training", description)):
        where = f'"training" entry {i}'
        if not isinstance(entry, dict):
            raise UserError(f'{description}: {where} is not an object of "image" and "label"')
        image = _inside(root, entry.get("image"), f"{where}, image", description, folders)
        label = _inside(root, entry.get("label"), f"{where}, label", description, folders)
        if not image.name.startswith("._"):
            cases.append(Case(without_ending(image.name), (image,), label))
    return cases


def _test(content: JsonObject, root: Path, description: Path, folders: Folders) -> list[Case]:
    """The test cases. An entry is a path, or an object that names it as its "image"."""
    images = [
        _inside(
            root,
            entry.get("image") if isinstance(entry, dict) else entry,
            f'"test" entry {i}' + (", image" if isinstance(entry, dict) else ""),
            description,
            folders,
        )
        for i, entry in enumerate(_list(content, "test", description))
    ]
    return [
        Case(without_ending(image.name), (image,), None, "test")
        for image in images
        if not image.name.startswith("._")
    ]


def _list(content: JsonObject, key: str, description: Path) -> list[Any]:
    entries = content.get(key, [])
    if not isinstance(entries, list):
        raise UserError(f'{description}: "{key}" is not a list; mend it')
    return entries


def _inside(root: Path, entry: object, where: str, description: Path, folders: Folders) -> Path:
    """A listed path below `root`. Links inside the folder are the user's own and are followed."""
    if not is_path(entry):
        raise UserError(f"{description}: {where} is not a path; mend it")
    inner = os.path.normpath(entry)
    if os.path.isabs(inner) or inner == ".." or inner.startswith(".." + os.sep):
        raise UserError(
            f"{description}: {where} leads out of the data set ({entry!r}); paths must "
            f"stay inside {root}"
        )
    if not ending_of(inner, (".nii.gz", ".nii")):
        raise UserError(f"{description}: {where} is no .nii or .nii.gz file ({entry!r}); mend it")
    return folders.find(root, inner)
