"""What every layout comes down to: a data set of cases, named classes and the files of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from invseg_jax.errors import UserError

# The class index of voxels that nobody labelled: no class, and of no weight in a loss or a score.
IGNORED = 255


@dataclass(frozen=True)
class Case:
    """One subject.

    Attributes:
        id: name of the case, unique in its data set.
        images: one file a modality in the data set's order, or a single 4-D file of them all.
        label: the label map, None for a case that has none.
        split: the part of the data set that the case comes with: its test images have no labels.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None
    split: Literal["training", "test"] = "training"

    @property
    def files(self) -> tuple[Path, ...]:
        """Its images, then its label map if it has one."""
        return self.images if self.label is None else (*self.images, self.label)


@dataclass(frozen=True)
class Region:
    """Classes segmented as one, which may overlap other regions, such as BraTS's whole tumour.

    Attributes:
        name: of the region.
        values: the values on disk of the classes that it is made of.
        written: the one of them that stands in a label map where the region was found, over those
            of the regions before it.
    """

    name: str
    values: tuple[int, ...]
    written: int


@dataclass(frozen=True)
class Dataset:
    """A data set on disk.

    Attributes:
        name: the data set's own name.
        root: the folder it was opened from.
        modalities: names of the image channels, in order.
        classes: names of the classes; the first is "background".
        values: the value that stands on disk for each class.
        cases: the cases in natural order of their ids.
        ignore: the value on disk of voxels that nobody labelled, if there is one.
        regions: what can be segmented instead of the classes, and is scored beside them.
        reference: number of the modality onto whose grid the others are resampled by their affines;
            None where all of them must lie on one grid.
        faults: what is wrong with the data set as a whole, found while it was listed, a line each.
            Files that are missing are no such fault: they stand in their cases, and whoever reads
            them finds out.
    """

    name: str
    root: Path
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    values: tuple[int, ...]
    cases: tuple[Case, ...]
    ignore: int | None = None
    regions: tuple[Region, ...] = ()
    reference: int | None = None
    faults: tuple[str, ...] = ()


def cases_of_id(
    id: str,
    images: Sequence[Sequence[Path]],
    labels: Sequence[Path | None],
    split: Literal["training", "test"] = "training",
) -> list[Case]:
    """The case of an id; several where several files have one name.

    Their ids then repeat, which whoever reads the data set is told (`repeated_ids`).

    Args:
        id: of the case.
        images: of each modality, the files that have its name, at least one.
        labels: the files that have the name of the label map, at least one; (None,) for a case
            without a label map.
        split: of the case.
    """
    count = max(len(files) for files in (*images, labels))
    return [
        Case(
            id,
            tuple(files[min(k, len(files) - 1)] for files in images),
            labels[min(k, len(labels) - 1)],
            split,
        )
        for k in range(count)
    ]


def natural_order(text: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key that takes digits as numbers: subject-2 stands before subject-10."""
    parts = re.split(r"([0-9]+)", text)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), text


def ordered(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Cases in natural order of their ids."""
    return tuple(sorted(cases, key=lambda case: natural_order(case.id)))


def repeated_ids(cases: Iterable[Case]) -> list[str]:
    """The ids that more than one case has, in the order of the cases."""
    counts = Counter(case.id for case in cases)
    return [id for id, count in counts.items() if count > 1]


def refuse_repeated_ids(cases: Iterable[Case], root: Path) -> None:
    """Refuses cases whose results would be written over one another.

    Raises:
        UserError: two cases have the same id.
    """
    if twice := repeated_ids(cases):
        raise UserError(
            f"{root}: ids that occur more than once: {some(twice)}; give every case its own"
        )


def some(items: Sequence[object], count: int = 5) -> str:
    """The first few of many, for an error in one line."""
    shown = ", ".join(str(item) for item in items[:count])
    return shown if len(items) <= count else f"{shown} and {len(items) - count} more"
