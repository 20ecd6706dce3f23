"""Folders as BraTS 2020 names them, compressed or not, and the one label map with another name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.checks.cases import check_cases
from invseg_jax.data.layouts import Case, open_dataset
from invseg_jax.data.layouts.case import Region

MODALITIES = ("t1", "t1ce", "t2", "flair")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, rng: np.random.Generator) -> Write:
    """Writes one case; each file is other than any before."""

    def write(inner: str, label: str | None = "{id}_seg", ending: str = ".nii.gz") -> Path:
        folder = tmp_path / "brats" / inner
        folder.mkdir(parents=True)
        for name in MODALITIES:
            image = rng.integers(1, 900, (6, 5, 4)).astype(np.int16)
            nib.Nifti1Image(image, np.eye(4)).to_filename(folder / f"{folder.name}_{name}{ending}")
        if label is not None:
            values = np.array([0, 1, 2, 4], np.uint8)[rng.integers(0, 4, (6, 5, 4))]
            nib.Nifti1Image(values, np.eye(4)).to_filename(
                folder / f"{label.format(id=folder.name)}{ending}"
            )
        return folder

    return write


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("inner", ["", "MICCAI_BraTS2020_TrainingData/"])
def test_training_and_validation(write: Write, tmp_path: Path, inner: str, ending: str) -> None:
    second = write(f"{inner}BraTS20_Training_010", ending=ending)
    first = write(f"{inner}BraTS20_Training_002", ending=ending)
    write("MICCAI_BraTS2020_ValidationData/BraTS20_Validation_001", label=None, ending=ending)
    (first.parent / "name_mapping.csv").write_text("passed over")
    dataset = open_dataset("brats2020", tmp_path / "brats")
    assert dataset.modalities == MODALITIES
    assert dataset.classes == ("background", "necrotic core", "oedema", "enhancing tumour")
    assert dataset.values == (0, 1, 2, 4)
    assert dataset.regions == (
        Region("WT", (1, 2, 4), 2),
        Region("TC", (1, 4), 1),
        Region("ET", (4,), 4),
    )
    ids = ["BraTS20_Training_002", "BraTS20_Training_010", "BraTS20_Validation_001"]
    assert [case.id for case in dataset.cases] == ids
    assert [case.split for case in dataset.cases] == ["training", "training", "test"]
    assert dataset.cases[1] == Case(
        second.name,
        tuple(second / f"{second.name}_{name}{ending}" for name in MODALITIES),
        second / f"{second.name}_seg{ending}",
    )
    assert dataset.cases[2].label is None
    assert check_cases(dataset, dataset.cases) == []


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_label_map_of_another_name(write: Write, ending: str) -> None:
    folder = write("BraTS20_Training_355", label="W39_1998.09.19_Segm", ending=ending)
    (case,) = open_dataset("brats2020", folder.parent).cases
    assert case.label == folder / f"W39_1998.09.19_Segm{ending}"


def test_what_is_missing_is_a_fault_of_its_case(write: Write) -> None:
    sound = write("BraTS20_Training_001")
    no_label = write("BraTS20_Training_002", label=None)
    no_image = write("BraTS20_Training_003")
    (no_image / f"{no_image.name}_t1ce.nii.gz").unlink()
    dataset = open_dataset("brats2020", sound.parent)
    faults = check_cases(dataset, dataset.cases)
    assert [(fault.case, fault.kind) for fault in faults] == [
        (no_label.name, "file"),
        (no_image.name, "file"),
    ]
    assert "BraTS20_Training_002_seg.nii.gz: no such file" in faults[0].text
    assert "BraTS20_Training_003_t1ce.nii.gz: no such file" in faults[1].text


def test_a_label_of_the_value_3_is_none(write: Write) -> None:
    folder = write("BraTS20_Training_001")
    label = np.full((6, 5, 4), 3, np.uint8)
    nib.Nifti1Image(label, np.eye(4)).to_filename(folder / f"{folder.name}_seg.nii.gz")
    dataset = open_dataset("brats2020", folder.parent)
    (fault,) = check_cases(dataset, dataset.cases)
    assert fault.kind == "label" and "holds 3, where only 0, 1, 2, 4 are" in fault.text


def test_an_image_that_is_there_twice_is_told(write: Write) -> None:
    folder = write("BraTS20_Training_001")
    image = nib.Nifti1Image(np.ones((6, 5, 4), np.int16), np.eye(4))
    image.to_filename(folder / f"{folder.name}_t1.nii")
    (fault,) = open_dataset("brats2020", folder.parent).faults
    assert fault == (
        f"{folder}: {folder.name}_t1.nii, {folder.name}_t1.nii.gz stand for the same image; leave "
        "one of them there"
    )


def test_endings_in_capital_letters(write: Write) -> None:
    folder = write("BraTS20_Training_001")
    for file in list(folder.iterdir()):
        file.rename(file.with_name(file.name.replace(".nii.gz", ".NII.GZ")))
    dataset = open_dataset("brats2020", folder.parent)
    assert dataset.cases[0].label == folder / f"{folder.name}_seg.NII.GZ"
    assert check_cases(dataset, dataset.cases) == []
