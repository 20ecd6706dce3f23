"""nnU-Net's raw data sets, version 2.

    dataset.json   imagesTr/CASE_0000.nii.gz CASE_0001.nii.gz …   labelsTr/CASE.nii.gz
                   imagesTs/CASE_0000.nii.gz …

The four digits are the channel. Of `dataset.json` are read: `channel_names`, `labels`,
`regions_class_order`, `file_ending`, `numTraining` and `name` (nnU-Net's
documentation/reference/dataset-format.md, region_based_training.md, ignore_label.md).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from invseg_jax.data.layouts.case import Case, Dataset, Region, ordered, some
from invseg_jax.data.layouts.description import channel_names, own_name, read_description
from invseg_jax.errors import UserError

ENDINGS = (".nii.gz", ".nii")
# The name in "labels" of the value that stands for voxels that nobody labelled.
_IGNORE = "ignore"


def open_folder(root: Path) -> Dataset:
    """Lists the cases of imagesTr, each with its label map in labelsTr, and of imagesTs.

    Where a label of `dataset.json` is a list of values, the labels are regions: they become
    `Dataset.regions`, and each value that occurs in one is a class.

    Raises:
        UserError: `dataset.json` is missing or not as nnU-Net's, or there is no case.
    """
    content, description = read_description(root, "nnU-Net")
    if "channel_names" not in content and "modality" in content:
        raise UserError(
            f'{description}: has "modality", not "channel_names"; it is in the layout msd, or of '
            "nnU-Net's version 1"
        )
    channels = channel_names(content, "channel_names", description)
    classes, values, regions, ignore = _labels(content, description)
    ending = content.get("file_ending")
    if ending not in ENDINGS:
        raise UserError(
            f'{description}: "file_ending" is {ending!r}; {" and ".join(ENDINGS)} files are read'
        )

    faults: list[str] = []
    training = _cases(root, "Tr", len(channels), ending, faults)
    test = _cases(root, "Ts", len(channels), ending, faults)
    if not training and not test:
        raise UserError(
            f"{root}: no case; looked for imagesTr/CASE_0000{ending} and imagesTs/CASE_0000{ending}"
        )
    count = content.get("numTraining")
    if count != len(training):
        faults.append(
            f'{description}: "numTraining" is {count!r}, and there are {len(training)} training '
            "cases; copy the data set whole, or mend the number"
        )
    return Dataset(
        own_name(content, root),
        root,
        channels,
        classes,
        values,
        ordered([*training, *test]),
        ignore=ignore,
        regions=regions,
        faults=tuple(faults),
    )


def image_cases(folder: Path, channels: int) -> tuple[Case, ...]:
    """The cases of a folder of images alone, such as imagesTs: what nnU-Net takes to predict.

    Args:
        folder: with CASE_0000.nii.gz, CASE_0001.nii.gz, …, or .nii.
        channels: that a case has.

    Returns:
        The cases; none where no file is named so.

    Raises:
        UserError: some are, and others are not or have a channel that there is not.
    """
    ids, strangers = set(), []
    for ending in ENDINGS:
        for name in _names(folder, ending):
            match = re.fullmatch(rf"(.+)_([0-9]{{4}}){re.escape(ending)}", name)
            if match and int(match[2]) < channels:
                ids.add((match[1], ending))
            else:
                strangers.append(name)
    if ids and strangers:
        raise UserError(
            f"{folder}: {some(sorted(strangers))}: in the nnunet layout four digits at the end of "
            f"a name are its channel, here 0000 to {channels - 1:04}, and every image has them; "
            "rename them, or put them into another folder"
        )
    return ordered(
        Case(id, tuple(folder / f"{id}_{c:04}{ending}" for c in range(channels)), None, "test")
        for id, ending in ids
    )


def _cases(
    root: Path, part: Literal["Tr", "Ts"], channels: int, ending: str, faults: list[str]
) -> list[Case]:
    """The cases of one part: all that has an image there or, for training, a label map."""
    numbered = re.compile(rf"(.+)_([0-9]{{4}}){re.escape(ending)}")
    ids, strangers = set(), []
    for name in _names(root / f"images{part}", ending):
        match = numbered.fullmatch(name)
        if match and int(match[2]) < channels:
            ids.add(match[1])
        else:
            strangers.append(name)
    if strangers:
        faults.append(
            f"{root / f'images{part}'}: files that are no channel from 0000 to {channels - 1:04}: "
            f"{some(strangers)}; rename or remove them"
        )
    labels = root / f"labels{part}"
    if part == "Tr":
        ids |= {name.removesuffix(ending) for name in _names(labels, ending)}
    return [
        Case(
            id,
            tuple(root / f"images{part}" / f"{id}_{c:04}{ending}" for c in range(channels)),
            labels / f"{id}{ending}" if part == "Tr" else None,
            "training" if part == "Tr" else "test",
        )
        for id in ids
    ]


def _names(folder: Path, ending: str) -> list[str]:
    """Names in a folder that may not be there; hidden ones, as of macOS archives, left out."""
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if name.endswith(ending) and not name.startswith(".")]


def _labels(
    content: dict[str, Any], description: Path
) -> tuple[tuple[str, ...], tuple[int, ...], tuple[Region, ...], int | None]:
    """Classes, their values, regions and the ignored value, from "labels"."""
    entries = content.get("labels")
    if not isinstance(entries, dict) or not all(entries):
        raise UserError(
            f'{description}: "labels" is not an object such as {{"background": 0, "organ": 1}}'
        )
    labels = {name: _values(name, entry, description) for name, entry in entries.items()}
    if labels.pop("background", None) != (0,):
        raise UserError(f'{description}: "labels" needs "background": 0')
    ignore = labels.pop(_IGNORE, None)
    if ignore is not None and len(ignore) != 1:
        raise UserError(f'{description}: "labels", "ignore" is {list(ignore)}; it is one value')
    used = [value for values in labels.values() for value in values]
    if not used:
        raise UserError(f'{description}: "labels" has no class besides the background')
    if 0 in used or (ignore is not None and ignore[0] in (0, *used)):
        raise UserError(
            f'{description}: "labels" gives the value of "background" or "ignore" to a class too'
        )
    regions: tuple[Region, ...] = ()
    names = {values[0]: name for name, values in labels.items() if len(values) == 1}
    if any(isinstance(entry, list) for entry in entries.values()):
        regions = _regions(content, labels, description)
    elif len(names) < len(used):
        raise UserError(f'{description}: "labels" has a value twice; give every class its own')
    values = sorted(set(used))
    classes = ("background", *(names.get(value, f"label {value}") for value in values))
    if len(set(classes)) < len(classes):
        raise UserError(f'{description}: "labels" has a name twice; give every class its own')
    return classes, (0, *values), regions, None if ignore is None else ignore[0]


def _values(name: str, entry: object, description: Path) -> tuple[int, ...]:
    """The values of a label: an integer, or a list of them."""
    values = tuple(entry) if isinstance(entry, list) else (entry,)
    whole = [v for v in values if isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 256]
    if not values or len(whole) < len(values) or len(set(whole)) < len(whole):
        raise UserError(
            f'{description}: "labels", {name!r} is {entry!r}; give an integer from 0 to 255, or a '
            "list of different ones"
        )
    return tuple(whole)


def _regions(
    content: dict[str, Any], labels: dict[str, tuple[int, ...]], description: Path
) -> tuple[Region, ...]:
    """The labels as regions; the k-th value of `regions_class_order` is written for the k-th."""
    order = content.get("regions_class_order")
    if (
        not isinstance(order, list)
        or len(order) != len(labels)
        or not all(value in values for value, values in zip(order, labels.values(), strict=True))
    ):
        raise UserError(
            f'{description}: "labels" has regions, so "regions_class_order" must list one value of '
            f"each of {', '.join(labels)}; it is {order!r}"
        )
    return tuple(
        Region(name, values, value)
        for (name, values), value in zip(labels.items(), order, strict=True)
    )
