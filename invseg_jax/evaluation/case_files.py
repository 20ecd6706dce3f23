"""What is written of each segmented case: its label map and its picture."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from invseg_jax.data.layouts.case import IGNORED, Case
from invseg_jax.data.layouts.names import composed
from invseg_jax.data.volumes.nifti import write_label_map
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.errors import UserError
from invseg_jax.evaluation.pictures import overlay


def make_output(folder: Path, ids: Iterable[str], cases: Iterable[Case]) -> None:
    """Makes the folder that `write_case_files` writes to.

    Args:
        folder: made if it is missing.
        ids: of the cases that will be written.
        cases: whose images and label maps must stay.

    Raises:
        UserError: a label map would take the place of one of their files, its name would be too
            long, or there can be no such folder.
    """
    # File systems of macOS do not tell composed from decomposed letters.
    files = {composed(os.path.realpath(path)) for case in cases for path in case.files}
    longest = _longest_name(folder)
    for id in ids:
        target = folder / f"{id}.nii.gz"
        if (size := len(os.fsencode(target.name))) > longest:
            raise UserError(
                f"--output {folder}: the label map of case {id} would have a name of {size} bytes, "
                f"and {longest} can be written there; shorten the names of its files"
            )
        if composed(os.path.realpath(target)) in files:
            raise UserError(
                f"--output {folder}: {target.name} there belongs to the data; take another folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder} cannot be made: {error.strerror}") from error


def _longest_name(folder: Path) -> int:
    """How many bytes a name in a folder may have; the folder need not be there yet."""
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):
        return 255


def write_case_files(
    folder: Path,
    id: str,
    *,
    image: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray | None,
    classes: Sequence[str],
    values: Sequence[int],
    affine: np.ndarray,
    placement: Placement,
) -> Path:
    """Writes ID.nii.gz, on the image's own grid, and ID.png.

    Args:
        folder: where they go.
        id: the case's name.
        image: (D, H, W, C); the picture shows the first channel.
        prediction: class indices (D, H, W).
        truth: class indices (D, H, W), drawn as background where they are `IGNORED`; or None.
        classes: names, the background first.
        values: the label value on disk of each class.
        affine: (4, 4), voxel indices to mm.
        placement: of the image; the label map gets the same. Where it does not say which side is
            left, the picture letters no side.

    Returns:
        The picture.
    """
    # The smallest type that holds all values: the map is as large as the image.
    stored = np.asarray(values, np.uint8 if max(values) < 256 else np.uint16)
    write_label_map(folder / f"{id}.nii.gz", stored[prediction], placement)
    if truth is not None and (ignored := truth == IGNORED).any():
        truth = np.where(ignored, 0, truth)
    picture = folder / f"{id}.png"
    overlay(
        picture,
        image=image[..., 0],
        prediction=prediction,
        truth=truth,
        classes=classes,
        affine=affine if placement.oriented else None,
        spacing=np.linalg.norm(affine[:3, :3], axis=0).tolist(),
    )
    return picture
