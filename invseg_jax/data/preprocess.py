"""From a case's files to arrays a network takes: checked, channels last, normalised.

Used for training and prediction alike, so that both see the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from invseg_jax.data.layouts.case import Case, Dataset, some
from invseg_jax.data.nifti import Volume, read_volume
from invseg_jax.errors import UserError

# How far two grids that should be one may lie apart at a corner, in mm. Writers round affines to
# float32 and quaternions, so equality would refuse good files.
CORNER_TOLERANCE_MM = 0.1
# Label maps stored with a scale factor come back as 149.99998; more than this is no label.
_ROUND_OFF = 1e-3


@dataclass
class LoadedCase:
    """A case in memory.

    Attributes:
        id: the case's name.
        image: (D, H, W, C) float32, each channel z-scored.
        label: (D, H, W) uint8 class indices, None for a case without a label map.
        affine: (4, 4) float64, voxel indices to mm.
        oriented: whether the file says which side is left; Analyze files do not.
    """

    id: str
    image: np.ndarray
    label: np.ndarray | None
    affine: np.ndarray
    oriented: bool = True


def load_case(dataset: Dataset, case: Case) -> LoadedCase:
    """Reads, checks and normalises a case.

    Args:
        dataset: says how many modalities there are and which value on disk is which class.
        case: one of its cases.

    Raises:
        UserError: a file cannot be read, the grids of image and label map differ, or the label
            map holds values that are not the data set's; the message names the case.
    """
    try:
        image, reference = _read_images(case.images, len(dataset.modalities))
        label = None
        if case.label is not None:
            volume = read_volume(case.label)
            _same_grid(reference, volume)
            label = _class_indices(volume, dataset.values)
    except UserError as error:
        raise UserError(f"case {case.id}: {error}") from error
    return LoadedCase(case.id, z_score(image), label, reference.affine, reference.oriented)


def load_images(paths: Sequence[Path], expected_modalities: int) -> tuple[np.ndarray, Volume]:
    """Reads and normalises the modalities of one subject.

    Args:
        paths: one file a modality, or a single file whose fourth axis is the modalities.
        expected_modalities: how many channels there must be.

    Returns:
        The image (D, H, W, C) float32, each channel z-scored, and the volume whose grid it is on.

    Raises:
        UserError: a file cannot be read, the grids differ, or there are more or fewer modalities.
    """
    image, reference = _read_images(paths, expected_modalities)
    return z_score(image), reference


def z_score(image: np.ndarray) -> np.ndarray:
    """Normalises each channel to mean 0 and standard deviation 1 over its non-zero voxels.

    Zeros, the air around a skull-stripped head, stay 0, and so does a channel of nothing else. A
    channel whose non-zero voxels are all equal has no contrast: they become 0 too.

    Args:
        image: (D, H, W, C), real, finite.

    Returns:
        (D, H, W, C) float32, a new array.
    """
    result = np.zeros(image.shape, np.float32)
    for channel in range(image.shape[-1]):
        inside = image[..., channel] != 0
        values = image[..., channel][inside].astype(np.float64)
        if values.size:
            values -= values.mean()
            deviation = values.std()
            # Below this, what is left is the rounding of the mean.
            if deviation > 1e-12 * np.abs(image[..., channel]).max():
                result[..., channel][inside] = values / deviation
    return result


def _read_images(paths: Sequence[Path], modalities: int) -> tuple[np.ndarray, Volume]:
    """Stacks the modalities channels-last, unnormalised; also the volume whose grid they share."""
    if len(paths) not in (1, modalities):
        raise UserError(
            f"{some([str(path) for path in paths])}: {len(paths)} image files for "
            f"{modalities} modalities; give one a modality, or one 4-D file"
        )
    image, reference = np.empty(0, np.float32), None
    for channel, path in enumerate(paths):
        volume = read_volume(path)
        array = volume.array if volume.array.ndim == 4 else volume.array[..., None]
        expected = modalities if len(paths) == 1 else 1
        if array.shape[-1] != expected:
            raise UserError(
                f"{path}: holds {array.shape[-1]} modalities (shape "
                f"{volume.array.shape}), {expected} expected; give one file a "
                "modality, or one 4-D file with the modalities last"
            )
        if reference is None:
            reference = volume
            image = np.empty((*array.shape[:3], modalities), np.float32)
        else:
            _same_grid(reference, volume)
        image[..., channel : channel + expected] = array
    assert reference is not None
    return image, reference


def _same_grid(image: Volume, other: Volume) -> None:
    """Refuses two volumes whose voxels are not in the same places."""
    first, second = image.array.shape[:3], other.array.shape
    if second != first:
        raise UserError(
            f"shapes differ: {first} in {image.path}, {second} in {other.path}; bring "
            "both onto one grid"
        )
    if image.oriented and other.oriented:
        corners = np.array([(*index, 1) for index in np.ndindex(2, 2, 2)], np.float64)
        corners[:, :3] *= np.array(first) - 1
        apart = np.linalg.norm(corners @ (image.affine - other.affine).T, axis=1).max()
        if apart > CORNER_TOLERANCE_MM:
            raise UserError(
                f"the affines put a corner {apart:.3g} mm apart (at most "
                f"{CORNER_TOLERANCE_MM} mm is allowed): {image.path} and {other.path}; "
                "bring both onto one grid"
            )


def _class_indices(volume: Volume, values: Sequence[int]) -> np.ndarray:
    """The class index of each voxel, (D, H, W) uint8 in C order."""
    label = volume.array
    if label.dtype.kind == "f":
        whole = np.rint(label)
        label = np.where(np.abs(label - whole) <= _ROUND_OFF, whole, label)
    result = np.zeros(label.shape, np.uint8)
    known = np.zeros(label.shape, bool)
    for index, value in enumerate(values):
        where = label == value
        result[where] = index
        known |= where
    if not known.all():
        unexpected = np.unique(label[~known])
        kind = "" if (unexpected == np.rint(unexpected)).all() else ", not all whole numbers"
        raise UserError(
            f"{volume.path}: the label map holds {some(unexpected.tolist())}{kind}, "
            f"where only {', '.join(map(str, values))} are expected; mend the label "
            "map or the data set's list of labels"
        )
    return result
