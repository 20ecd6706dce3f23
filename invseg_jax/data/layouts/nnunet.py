"""nnU-Net's raw data sets, version 2.

    dataset.json   imagesTr/CASE_0000.nii.gz CASE_0001.nii.gz …   labelsTr/CASE.nii.gz
                   imagesTs/CASE_0000.nii.gz …

The four digits are the channel. These keys of `dataset.json` are read: `channel_names`, `labels`,
`regions_class_order`, `file_ending`, `numTraining`, `dataset` and `name` (nnU-Net's
documentation/reference/dataset-format.md, region_based_training.md, ignore_label.md).

A key `dataset` lists the training cases instead of imagesTr and labelsTr:

    "dataset": {"CASE": {"images": ["../scans/7/ct.nii.gz", …], "label": "/data/7/seg.nii.gz"}, …}

Each case has one image for each channel. Paths start from the folder of `dataset.json` or are
absolute, and environment variables in them are filled in. The key lets files stay where they are:
unlike the Decathlon's paths, these may lead out of the data set.
"""

from __future__ import annotations

import os
from pathlib import Path

from invseg_jax.data.layouts.case import Case, Dataset, Region, ordered, some
from invseg_jax.data.layouts.channel_files import ChannelFiles, names_ending
from invseg_jax.data.layouts.description import (
    channel_names,
    is_path,
    own_name,
    read_description,
    refuse_version_1,
)
from invseg_jax.data.layouts.names import Folders, composed, ending_of, without_ending
from invseg_jax.errors import UserError
from invseg_jax.files.json_values import JsonObject
from invseg_jax.files.missing import leads_nowhere, why_missing

ENDINGS = (".nii.gz", ".nii")
# The name in "labels" of the value that stands for voxels that nobody labelled.
_IGNORE = "ignore"


def open_folder(root: Path) -> Dataset:
    """Lists the training cases, each with its label map, and the cases of imagesTs.

    Where a label of `dataset.json` is a list of values, the labels are regions: they become
    `Dataset.regions`, and each value that occurs in one is a class. Names are found in any spelling
    (see `names`).

    Raises:
        UserError: `dataset.json` is missing, is not as in nnU-Net's version 2, or there is no case.
    """
    content, description = read_description(root, "nnU-Net")
    folders, faults = Folders(), []
    if "channel_names" not in content and "modality" in content:
        refuse_version_1(content, root, description, folders)
        raise UserError(
            f'{description}: has "modality", not "channel_names"; it is in the layout msd, or of '
            "nnU-Net's version 1"
        )
    channels = channel_names(content, "channel_names", description)
    classes, values, regions, ignore = _labels(content, description)
    ending = content.get("file_ending")
    if not isinstance(ending, str) or ending.lower() not in ENDINGS:
        raise UserError(
            f'{description}: "file_ending" is {ending!r}; {" and ".join(ENDINGS)} files are read'
        )

    if "dataset" in content:
        training = _listed(content["dataset"], root, description, folders)
    else:
        training = _training(root, len(channels), ending, folders, faults)
    images = _channels(root / "imagesTs", len(channels), ending, folders, faults)
    test = [case for id in images.ids for case in images.cases(id, (None,), "test")]
    if not training and not test:
        reason = "".join(f" ({fault})" for fault in faults)
        raise UserError(
            f"{root}: no case; looked for imagesTr/CASE_0000{ending} and "
            f"imagesTs/CASE_0000{ending}{reason}"
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
    folders = Folders()
    found = [ChannelFiles(folder, channels, ending, folders) for ending in ENDINGS]
    strangers = [name for images in found for name in images.strangers]
    if strangers and any(images.ids for images in found):
        raise UserError(
            f"{folder}: {some(sorted(strangers))}: in the nnunet layout four digits at the end of "
            f"a name are its channel, here 0000 to {channels - 1:04}, and every image has them; "
            "rename them, or put them into another folder"
        )
    return ordered(
        case for images in found for id in images.ids for case in images.cases(id, (None,), "test")
    )


def _training(
    root: Path, channels: int, ending: str, folders: Folders, faults: list[str]
) -> list[Case]:
    """All cases that have an image in imagesTr or a label map in labelsTr."""
    images = _channels(root / "imagesTr", channels, ending, folders, faults)
    folder = root / "labelsTr"
    labels: dict[str, list[Path]] = {}
    for name in names_ending(folder, ending, folders):
        labels.setdefault(without_ending(name), []).append(folder / name)
    faults += _passed_over(folder, ending, folders)
    return [
        case
        for id in dict.fromkeys((*images.ids, *labels))
        for case in images.cases(id, labels.get(id, [folder / f"{id}{ending}"]), "training")
    ]


def _channels(
    folder: Path, channels: int, ending: str, folders: Folders, faults: list[str]
) -> ChannelFiles:
    """The images of a folder; other volumes in it become a fault."""
    images = ChannelFiles(folder, channels, ending, folders)
    if images.strangers:
        faults.append(
            f"{folder}: files that are no channel from 0000 to {channels - 1:04}: "
            f"{some(images.strangers)}; rename or remove them"
        )
    faults += _passed_over(folder, ending, folders)
    return images


def _passed_over(folder: Path, ending: str, folders: Folders) -> list[str]:
    """Faults that would go unnoticed: images with another ending, a link to a missing folder."""
    if leads_nowhere(folder):
        return [f"{folder}: {why_missing(folder)}"]
    others = [
        name
        for name in folders.names(folder)
        if (own := ending_of(name, ENDINGS)) and own.lower() != ending.lower()
    ]
    if not others:
        return []
    return [
        f'{folder}: files that do not end in {ending}, as "file_ending" says: {some(others)}; '
        "convert or remove them"
    ]


def _listed(entries: object, root: Path, description: Path, folders: Folders) -> list[Case]:
    """The cases of the key "dataset"."""
    if not isinstance(entries, dict):
        raise UserError(
            f'{description}: "dataset" is not an object such as {{"case": {{"images": ["a.nii.gz"],'
            ' "label": "b.nii.gz"}}; mend it'
        )
    cases = []
    for name, entry in entries.items():
        where = f'{description}: "dataset", {name!r}'
        if not is_path(name) or "/" in name or name in (".", ".."):
            raise UserError(f"{where} cannot be the name of a file; give the case another name")
        images = entry.get("images") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(images, list) or not images:
            raise UserError(f'{where} is not an object of "images", a list, and "label"')
        paths = [_elsewhere(path, root, f"{where}, images", folders) for path in images]
        label = _elsewhere(entry.get("label"), root, f"{where}, label", folders)
        cases.append(Case(composed(name), tuple(paths), label))
    return cases


def _elsewhere(entry: object, root: Path, where: str, folders: Folders) -> Path:
    """A path of the key "dataset", which may lead anywhere."""
    if not is_path(entry):
        raise UserError(f"{where}: {entry!r} is not a path; mend it")
    path = os.path.normpath(os.path.expandvars(entry))
    if not ending_of(path, ENDINGS):
        raise UserError(f"{where}: {entry!r} is no .nii or .nii.gz file; mend it")
    return folders.find(root, path)


def _labels(
    content: JsonObject, description: Path
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
    content: JsonObject, labels: dict[str, tuple[int, ...]], description: Path
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
