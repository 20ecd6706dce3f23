"""What is written of each segmented case: its label map and its picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.nifti import write_label_map
from invseg_jax.evaluation.pictures import overlay


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
    oriented: bool,
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
        oriented: whether the affine says which side is left; if not, the picture letters no side.

    Returns:
        The picture.
    """
    write_label_map(folder / f"{id}.nii.gz", np.asarray(values)[prediction], affine)
    if truth is not None and (ignored := truth == IGNORED).any():
        truth = np.where(ignored, 0, truth)
    picture = folder / f"{id}.png"
    overlay(
        picture,
        image=image[..., 0],
        prediction=prediction,
        truth=truth,
        classes=classes,
        affine=affine if oriented else None,
        spacing=np.linalg.norm(affine[:3, :3], axis=0).tolist(),
    )
    return picture
