"""From a case's files to arrays on one grid: checked, channels last, in the file's own axes.

Used for training and prediction alike, so that both see the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from invseg_jax.data.layouts.case import Case, Dataset, some
from invseg_jax.data.prepare.label_values import class_indices
from invseg_jax.data.prepare.resampling import resample_onto
from invseg_jax.data.volumes.grid import Grid
from invseg_jax.data.volumes.nifti import Volume, read_volume
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.errors import UserError


@dataclass
class LoadedCase:
    """A case in memory, as it is on disk.

    Attributes:
        id: the case's name.
        image: (D, H, W, C) float32, in the units of the files.
        label: (D, H, W) uint8 class indices, `IGNORED` where nobody labelled; None for a case
            without a label map.
        affine: (4, 4) float64, voxel indices to mm.
        placement: where the file says that the image lies. An image without a file gets its
            placement from the affine.
        notes: what a user should be told of the headers of its files, a line each.
    """

    id: str
    image: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    placement: Placement = None  # pyright: ignore  (set below)
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        """Gives an image without a file its placement."""
        if self.placement is None:
            self.placement = Placement.of_affine(self.affine)

    @property
    def oriented(self) -> bool:
        """Whether the file says where the image lies and which side is left."""
        return self.placement.oriented


def load_case(dataset: Dataset, case: Case, interpolation: str = "linear") -> LoadedCase:
    """Reads and checks a case.

    Args:
        dataset: says how many modalities there are, which of them the others are resampled onto,
            and which value on disk is which class.
        case: one of its cases.
        interpolation: of modalities that lie on another grid; see `resampling.ORDERS`.

    Raises:
        UserError: a file cannot be read, the grids differ that should be one, there are more or
            fewer modalities, or the label map holds values that are not the data set's; the message
            names the case.
    """
    notes: list[str] = []
    try:
        image, grid = _read_images(
            case.images, len(dataset.modalities), dataset.reference, interpolation, notes
        )
        label = None
        if case.label is not None:
            volume = _noted(read_volume(case.label), notes)
            label = np.ascontiguousarray(_along(grid, volume, class_indices(volume, dataset)))
    except UserError as error:
        raise UserError(f"case {case.id}: {error}") from error
    return LoadedCase(case.id, image, label, grid.affine, grid.placement, tuple(notes))


def _read_images(
    paths: Sequence[Path],
    modalities: int,
    reference: int | None,
    interpolation: str,
    notes: list[str],
) -> tuple[np.ndarray, Volume]:
    """Stacks the modalities channels-last; also the volume whose grid they are on.

    What there is to be told of the files goes into `notes`.
    """
    if len(paths) not in (1, modalities):
        raise UserError(
            f"{some([str(path) for path in paths])}: {len(paths)} image files for "
            f"{modalities} modalities; give one a modality, or one 4-D file"
        )
    expected = modalities if len(paths) == 1 else 1
    # The modalities of one file have one grid.
    first = 0 if reference is None or len(paths) == 1 else reference
    grid = _noted(_read_image(paths[first], expected), notes)
    shape = grid.array.shape[:3]
    image = np.empty((*shape, modalities), np.float32)
    image[..., first : first + expected] = grid.channels
    for channel, path in enumerate(paths):
        if channel == first:
            continue
        volume = _noted(_read_image(path, expected), notes)
        if reference is not None and Grid.of(grid).differs(Grid.of(volume)):
            if not grid.oriented or not volume.oriented:
                lost = volume if grid.oriented else grid
                raise UserError(
                    f"{path}: cannot be brought onto the grid of {grid.path}, as the header of "
                    f"{lost.path} does not say where it lies (Analyze, or neither sform nor "
                    "qform); give both an sform"
                )
            if not Grid.of(grid).overlaps(Grid.of(volume)):
                raise UserError(
                    f"{path} does not overlap {grid.path} in space; mend the affine of one"
                )
            image[..., channel] = resample_onto(
                volume.array,
                volume.affine,
                grid.affine,
                shape,
                interpolation=interpolation,
            )
        else:
            image[..., channel] = _along(grid, volume, volume.array)
    return image, grid


def _read_image(path: Path, expected: int) -> Volume:
    """Reads a file that must hold so many modalities."""
    volume = read_volume(path)
    found = volume.channels.shape[3]
    if found != expected:
        raise UserError(
            f"{path}: holds {found} modalities (shape {volume.array.shape}), {expected} expected; "
            "give one file a modality, or one 4-D file with the modalities last"
        )
    return volume


def _noted(volume: Volume, notes: list[str]) -> Volume:
    notes += [f"{volume.path}: {note}" for note in volume.notes]
    return volume


def _along(image: Volume, other: Volume, array: np.ndarray) -> np.ndarray:
    """An array (D, H, W) on the grid of `other`, along the axes of `image`.

    Raises:
        UserError: the voxels of the two volumes are not in the same places.
    """
    grid, others = Grid.of(image), Grid.of(other)
    if fault := grid.differs(others):
        raise UserError(f"{fault}; bring both onto one grid")
    axes = grid.axes_of(others)
    return array if axes is None else axes.bring(array)
