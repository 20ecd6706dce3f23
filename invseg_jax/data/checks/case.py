"""The faults of one case: files that cannot be read, grids that do not fit, unknown labels.

A case is read file by file, and of each one only the grid is kept: what the check takes of memory
is one volume.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from invseg_jax.data.layouts.case import IGNORED, Case, Dataset, some
from invseg_jax.data.prepare.content import Content, read_with_content
from invseg_jax.data.prepare.label_values import class_indices
from invseg_jax.data.prepare.outliers import outliers
from invseg_jax.data.prepare.resampling import Triple
from invseg_jax.data.volumes.grid import Grid
from invseg_jax.data.volumes.nifti import Volume
from invseg_jax.errors import UserError

Kind = Literal[
    "listing",
    "file",
    "memory",
    "grid",
    "label",
    "empty-image",
    "empty-label",
    "duplicate",
    "outlier",
    "header",
    "orientation",
    "air",
]
# What can be meant: a scan without the organ, a channel that was not taken, a scan listed twice, a
# marker in the image.
TOLERABLE: tuple[Kind, ...] = ("empty-image", "empty-label", "duplicate", "outlier")


@dataclass(frozen=True)
class Fault:
    """Something wrong with a case.

    Attributes:
        case: its id; "" for the data set as a whole.
        kind: "listing" (which files there are), "file" (missing, damaged, no finite image),
            "memory" (it would take more than there is), "grid" (shape, affine, channels), "label"
            (its values), or one of `TOLERABLE`. Warnings have "header", "orientation" or "air".
        text: what is wrong, where, and what to do, in one line; paths from the data set's root.
        warning: whether it is only to be known, and the case can be used all the same.
    """

    case: str
    kind: Kind
    text: str
    warning: bool = False


def check_case(
    dataset: Dataset, case: Case, contents: dict[Path, Content] | None = None
) -> list[Fault]:
    """Reads every file of a case.

    Args:
        dataset: says how many channels there are, which values a label map holds, and whether the
            images lie on one grid or are resampled onto that of `dataset.reference`.
        case: one of its cases.
        contents: receives what is in each file that can be read.

    Returns:
        The faults, at most one for a file that cannot be read; empty for a sound case.
    """
    found = _Found(dataset, case, {} if contents is None else contents)
    alone = len(case.images) == 1
    if not alone and len(case.images) != len(dataset.modalities):
        found.add(
            "listing",
            f"{len(case.images)} image files for {len(dataset.modalities)} modalities; give one a "
            "modality, or one 4-D file",
        )
        return found.faults  # it is not known which file is which modality
    channels = len(dataset.modalities) if alone else 1
    grids = [_check_image(found, path, channels) for path in case.images]
    reference = grids[0 if alone else dataset.reference or 0]
    if dataset.reference is None:  # one grid is as good as another
        reference = next((grid for grid in grids if grid is not None), None)
    if reference is not None:
        for grid in grids:
            if grid is None or grid is reference:
                continue
            if dataset.reference is None:
                _same_grid(found, reference, grid)
            else:
                _overlap(found, reference, grid)
    if case.label is not None:
        _check_label(found, case.label, reference)
    return found.faults


def shown_from(root: Path, text: str) -> str:
    """A text in which paths start from the data set's root."""
    return re.sub(rf"(?<![^\s'\"(]){re.escape(f'{root}{os.sep}')}", "", text)


class _Found:
    """Collects the faults of a case, and what is in its files."""

    def __init__(self, dataset: Dataset, case: Case, contents: dict[Path, Content]):
        self.dataset, self.case, self.contents = dataset, case, contents
        self.faults: list[Fault] = []

    def add(self, kind: Kind, text: str) -> None:
        self.faults.append(Fault(self.case.id, kind, shown_from(self.dataset.root, text)))

    def read(self, path: Path) -> Volume | None:
        """Reads a volume; what is wrong with the file is a fault."""
        try:
            volume, self.contents[path] = read_with_content(path)
        except UserError as error:
            self.add("file", str(error))
            return None
        return volume


def _check_image(found: _Found, path: Path, channels: int) -> Grid | None:
    volume = found.read(path)
    if volume is None:
        return None
    array = volume.channels
    if array.shape[-1] != channels:
        found.add(
            "grid",
            f"{path}: holds {array.shape[-1]} channels (shape {volume.array.shape}), {channels} "
            "expected; give one file a modality, or one 4-D file with the modalities last",
        )
    constant: dict[float, list[int]] = {}
    for index, channel in enumerate(found.contents[path].channels):
        if channel.minimum == channel.maximum:
            constant.setdefault(channel.minimum, []).append(index)
        else:
            places = outliers(array[..., index], channel.minimum, channel.maximum)
            which = "" if array.shape[-1] == 1 else f" of channel {index}"
            _add_outliers(found, path, array[..., index], places, which)
    for value, channels_of_it in constant.items():
        which = "" if array.shape[-1] == 1 else f", channels {some(channels_of_it)}"
        what = "zero" if value == 0 else f"{value:g}"
        found.add(
            "empty-image", f"{path}: all voxels are {what}{which}; fetch or leave out the case"
        )
    return Grid.of(volume)


def _add_outliers(
    found: _Found, path: Path, channel: np.ndarray, places: Sequence[Triple], which: str
) -> None:
    if not places:
        return
    value = f"{float(channel[places[0]]):g} at {places[0]}"
    if len(places) == 1:
        text = f"one voxel{which}, {value}, makes up"
    else:
        text = f"{len(places)} voxels{which} (the most extreme one: {value}) make up"
    found.add(
        "outlier",
        f"{path}: {text} 99 % of the variance of the image, so a network sees all others as equal; "
        "mend the voxel or leave out the case",
    )


def _check_label(found: _Found, path: Path, image: Grid | None) -> None:
    volume = found.read(path)
    if volume is None:
        return
    if image is not None:
        _same_grid(found, image, Grid.of(volume))
    try:
        label = class_indices(volume, found.dataset)
    except UserError as error:
        found.add("label", str(error))
        return
    if not ((label != 0) & (label != IGNORED)).any():
        found.add(
            "empty-label",
            f"{path}: no voxel of a class besides the background; label or leave out the case",
        )


def _same_grid(found: _Found, first: Grid, second: Grid) -> None:
    """Two volumes whose voxels should be in the same places."""
    if fault := first.differs(second):
        found.add("grid", f"{fault}; bring both onto one grid")


def _overlap(found: _Found, reference: Grid, other: Grid) -> None:
    """Two volumes that may have different grids: the second is resampled onto the first."""
    if not reference.differs(other):
        return
    if not (reference.oriented and other.oriented):
        found.add(
            "grid",
            f"{(other if reference.oriented else reference).path}: the header does not say where "
            "it lies (Analyze, or neither sform nor qform), so it cannot be resampled; give it an "
            "sform",
        )
        return
    if not reference.overlaps(other):
        found.add(
            "grid",
            f"{other.path} does not overlap {reference.path} in space; mend the affine of one",
        )
