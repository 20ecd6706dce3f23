"""Tiny data sets in each layout, written to a temporary folder with nibabel."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.spm2analyze import Spm2AnalyzeImage

SHAPE = (7, 6, 5)
ISEG_VALUES = np.array([0, 10, 150, 250], np.int16)


def _volume(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Positive intensities inside a box, zero air around it."""
    array = np.zeros(shape, np.int16)
    array[1:-1, 1:-1, 1:-1] = rng.integers(50, 1000, array[1:-1, 1:-1, 1:-1].shape)
    return array


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def write_iseg(tmp_path: Path, rng: np.random.Generator) -> Callable[..., Path]:
    """Writes subjects in the iSeg-2019 layout; the last axis of 1 is as in some of its files."""

    def write(
        labelled: Sequence[int] = (1, 2, 10),
        unlabelled: Sequence[int] = (),
        folder: str = "iseg",
        shape: Sequence[int] = SHAPE,
    ) -> Path:
        root = tmp_path / folder
        root.mkdir(parents=True, exist_ok=True)
        for subject in (*labelled, *unlabelled):
            arrays = {kind: _volume(rng, shape) for kind in ("T1", "T2")}
            if subject in labelled:
                arrays["label"] = ISEG_VALUES[rng.integers(0, 4, shape)]
            for kind, array in arrays.items():
                image = Spm2AnalyzeImage(array[..., None], np.diag([-1.0, 1.0, 1.0, 1.0]))
                image.header["origin"][:3] = 0
                image.to_filename(root / f"subject-{subject}-{kind}.hdr")
        for extra in root.glob("*.mat"):  # nibabel's own; the challenge's data have none
            extra.unlink()
        return root

    return write


@pytest.fixture
def write_msd(tmp_path: Path, rng: np.random.Generator) -> Callable[..., Path]:
    """Writes a Decathlon data set; keyword arguments replace entries of its dataset.json."""

    def write(
        ids: Sequence[str] = ("organ_2", "organ_10"),
        modalities: int = 1,
        folder: str = "msd",
        shape: Sequence[int] = SHAPE,
        **changes: object,
    ) -> Path:
        root = tmp_path / folder
        for inner in ("imagesTr", "labelsTr", "imagesTs"):
            (root / inner).mkdir(parents=True, exist_ok=True)
        affine = np.diag([2.0, 1.0, 0.5, 1.0])
        image = _volume(rng, shape if modalities == 1 else (*shape, modalities))
        for name in ids:
            image = np.roll(image, 1, axis=0) + (image != 0)
            label = rng.integers(0, 3, shape).astype(np.uint8)
            nib.Nifti1Image(image, affine).to_filename(root / f"imagesTr/{name}.nii.gz")
            nib.Nifti1Image(label, affine).to_filename(root / f"labelsTr/{name}.nii.gz")
        description: dict[str, object] = {
            "name": "Organ",
            "modality": {str(i): f"M{i}" for i in range(modalities)},
            "labels": {"0": "Background", "1": "front", "2": "back"},
            "training": [
                {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
                for name in ids
            ],
            "test": [],
        }
        description.update(changes)
        (root / "dataset.json").write_text(json.dumps(description))
        return root

    return write
