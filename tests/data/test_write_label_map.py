"""Label maps are read back with nibabel, and a failed write leaves what was there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.volumes.nifti import read_volume, write_label_map
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.errors import UserError

AFFINE = np.array(
    [[0.0, -2.0, 0.0, 10.0], [1.5, 0.0, 0.0, -4.0], [0.0, 0.0, 0.7, 3.0], [0.0, 0.0, 0.0, 1.0]]
)
PLACE = Placement.of_affine(AFFINE)


def test_label_map_goes_to_disk_and_back(tmp_path: Path, rng: np.random.Generator) -> None:
    labels = rng.integers(0, 256, (5, 4, 3))
    path = tmp_path / "new" / "seg.nii.gz"
    write_label_map(path, labels, PLACE)
    image = nib.Nifti1Image.from_filename(path)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), labels)
    for affine in (image.get_sform(), image.get_qform(), read_volume(path).affine):
        np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert [p.name for p in path.parent.iterdir()] == ["seg.nii.gz"]
    first = path.read_bytes()
    write_label_map(path, labels.astype(np.int8).view(np.uint8), PLACE)
    assert path.read_bytes() == first


def test_large_values_take_two_bytes(tmp_path: Path) -> None:
    labels = np.array([0, 255, 256, 65_535]).reshape(2, 2, 1)
    write_label_map(tmp_path / "a.nii.gz", labels, PLACE)
    image = nib.Nifti1Image.from_filename(tmp_path / "a.nii.gz")
    assert image.get_data_dtype() == np.uint16
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), labels)


def test_a_sheared_affine_is_kept(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[0, 2] = 0.6
    write_label_map(
        tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.uint8), Placement.of_affine(sheared)
    )
    image = nib.Nifti1Image.from_filename(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(image.get_sform(), sheared, atol=1e-6)
    assert image.header["qform_code"] == 0


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (np.zeros((2, 2, 2), np.float32), "a.nii.gz"),
        (np.zeros((2, 2), np.uint8), "a.nii.gz"),
        (np.full((2, 2, 2), 65_536), "a.nii.gz"),
        (np.full((2, 2, 2), -1), "a.nii.gz"),
        (np.zeros((2, 2, 2), np.uint8), "a.png"),
        (np.zeros((2, 0, 2), np.uint8), "a.nii.gz"),
    ],
)
def test_label_maps_that_cannot_be_stored(tmp_path: Path, labels: np.ndarray, name: str) -> None:
    with pytest.raises(ValueError, match="label"):
        write_label_map(tmp_path / name, labels, PLACE)
    assert not list(tmp_path.iterdir())


def _fail(error: OSError) -> Callable[..., None]:
    def call(*args: object) -> None:
        raise error

    return call


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "seg.nii.gz"
    write_label_map(path, np.ones((2, 2, 2), np.uint8), PLACE)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", _fail(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match=r"seg\.nii\.gz: cannot be written \(No space left"):
        write_label_map(path, np.zeros((2, 2, 2), np.uint8), PLACE)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
