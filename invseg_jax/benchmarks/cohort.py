"""A made-up data set of the sizes of MSD Task04, hippocampus, where the real one is not at hand."""

import json
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

SHAPE = (35, 50, 36)  # the median of the real one's cases, in voxels
SPREAD = 4  # a case's sizes differ from these by up to so many voxels


def write_cohort(root: Path, cases: int, shape: Sequence[int] = SHAPE, seed: int = 0) -> Path:
    """Writes images of smooth noise with a two-part ellipsoid, in the MSD layout.

    Args:
        root: a folder, which is made.
        cases: how many.
        shape: (D, H, W) in voxels about which the cases' sizes vary.
        seed: the same seed writes the same files.

    Returns:
        The root.
    """
    rng = np.random.default_rng(seed)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    names = [f"case_{number:03d}" for number in range(cases)]
    for name in names:
        size = [max(n + int(rng.integers(-SPREAD, SPREAD + 1)), 4) for n in shape]
        places = np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij")
        inside = sum((place / 0.4) ** 2 for place in places) < 1
        label = np.where(inside, np.where(places[1] < 0, 1, 2), 0).astype(np.uint8)
        noise = ndimage.gaussian_filter(rng.normal(size=size), 1.5)
        image = (300.0 + 60.0 * label + 400.0 * noise).astype(np.float32)
        for folder, array in (("imagesTr", image), ("labelsTr", label)):
            nib.Nifti1Image(array, np.eye(4)).to_filename(root / folder / f"{name}.nii.gz")
    description = {
        "name": "made-up hippocampi",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "anterior", "2": "posterior"},
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in names
        ],
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root
