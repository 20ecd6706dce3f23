"""Images in, label maps out: on the image's own grid, as nibabel sees it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.interactive.session import Session
from invseg_jax.interactive.session_image import SessionImage
from tests.interactive.toy_method import Toy, click

SPACING = {0: (3.0, 1.0, 1.5), 1: (1.0, 3.0, 1.5), 2: (1.5, 1.0, 3.0)}


def image(affine: np.ndarray, shape=(7, 9, 8), codes=(1, 2)) -> nib.Nifti1Image:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    made = nib.Nifti1Image(values, affine)
    made.set_qform(affine, codes[0])
    made.set_sform(affine, codes[1])
    return made


def affine_of(spacing, flips=(1, 1, 1), order=(0, 1, 2)) -> np.ndarray:
    affine = np.zeros((4, 4))
    for axis, (length, flip, to) in enumerate(zip(spacing, flips, order, strict=True)):
        affine[to, axis] = length * flip
    affine[:, 3] = (-20, 11, 5, 1)
    return affine


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_a_label_map_lies_where_the_image_lies(axis, flips, order, tmp_path: Path):
    affine = affine_of(SPACING[axis], flips, order)
    made = image(affine)
    nib.save(made, tmp_path / "image.nii.gz")
    session = Session(tmp_path / "image.nii.gz", Toy(), labels=("a", "b"))
    assert session.axis == axis
    voxels = np.moveaxis(made.get_fdata(dtype=np.float32), axis, 0)
    assert np.array_equal(session.volume.image, voxels)
    others = [length for k, length in enumerate(SPACING[axis]) if k != axis]
    np.testing.assert_allclose(session.volume.spacing, (3.0, *others), rtol=1e-6)
    mask = np.zeros(session.volume.shape, bool)
    mask[1, 4:6] = True
    session.paint(mask, 2, label=2)
    session.save(tmp_path / "new" / "labels.nii.gz")
    saved = nib.Nifti1Image.from_filename(tmp_path / "new" / "labels.nii.gz")
    labels = np.asarray(saved.dataobj)
    assert saved.shape == made.shape and saved.get_data_dtype() == np.uint8
    assert np.array_equal(labels, session.label_map())
    assert np.array_equal(np.moveaxis(labels, axis, 0)[2], 2 * mask) and labels.sum() == 4
    for get in ("get_qform", "get_sform"):
        found, code = getattr(saved.header, get)(coded=True)
        wanted, wanted_code = getattr(made.header, get)(coded=True)
        assert code == wanted_code
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(saved.header.get_zooms(), made.header.get_zooms())
    # Back again, from the file and from the array.
    for labels_in in (tmp_path / "new" / "labels.nii.gz", labels):
        other = Session(tmp_path / "image.nii.gz", Toy(), labels=("a", "b"))
        other.import_labels(labels_in)
        assert np.array_equal(other.label_map(), labels) and other.confirmed(2) == [2]


@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 4), (3, 1)])
def test_codes_of_the_header_are_kept(codes, tmp_path: Path):
    nib.save(image(affine_of((1.0, 1.0, 2.0)), codes=codes), tmp_path / "image.nii")
    said = []
    session = Session(str(tmp_path / "image.nii"), Toy(), say=said.append)
    session.save(tmp_path / "labels.nii.gz")
    header = nib.Nifti1Image.from_filename(tmp_path / "labels.nii.gz").header
    assert (header["qform_code"], header["sform_code"]) == codes
    np.testing.assert_allclose(header.get_zooms(), (1.0, 1.0, 2.0))


def test_an_image_of_nibabel_is_the_same_as_its_file(tmp_path: Path):
    made = image(affine_of((1.0, 1.0, 2.0), (-1, 1, 1)))
    nib.save(made, tmp_path / "image.nii.gz")
    file, memory = Session(tmp_path / "image.nii.gz", Toy()), Session(made, Toy())
    for session in (file, memory):
        session.prompt(click(3, 3), 4)
        session.save(tmp_path / f"{session is file}.nii.gz")
    assert (tmp_path / "True.nii.gz").read_bytes() == (tmp_path / "False.nii.gz").read_bytes()
    file.write_log(tmp_path / "log")
    other = Session.replay(tmp_path / "log", made, Toy())
    assert np.array_equal(other.label_map(), file.label_map())


def test_labels_stored_along_other_axes_are_brought_along(tmp_path: Path):
    affine = affine_of((1.0, 1.0, 2.0))
    nib.save(image(affine), tmp_path / "image.nii.gz")
    labels = np.zeros((7, 9, 8), np.uint8)
    labels[1:3, 2:7, 3:6] = 1
    flipped = affine @ np.diag([-1, 1, 1, 1.0])
    flipped[:3, 3] += affine[:3, 0] * 6
    nib.save(nib.Nifti1Image(labels[::-1], flipped), tmp_path / "labels.nii.gz")
    session = Session(tmp_path / "image.nii.gz", Toy())
    session.import_labels(tmp_path / "labels.nii.gz")
    assert np.array_equal(session.label_map(), labels)
    moved = affine.copy()
    moved[0, 3] += 5
    nib.save(nib.Nifti1Image(labels, moved), tmp_path / "moved.nii.gz")
    with pytest.raises(UserError, match="does not fit the image; the affines put a corner 5 mm"):
        session.import_labels(tmp_path / "moved.nii.gz")


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((1, 1, 1), 2), ((2, 2, 1), 1), ((1.0001, 1, 1), 2), ((1, 1.2, 1), 1), ((2, 1, 2), 2)],
)
def test_slices_lie_across_the_largest_spacing_and_else_the_last_axis(spacing, axis):
    made = image(affine_of(spacing))
    assert Session(made, Toy()).axis == axis
    assert Session(made, Toy(), axis=0).axis == 0


def test_an_opened_image_is_shared():
    opened = SessionImage.open(image(affine_of((1.0, 1.0, 2.0))), None)
    assert Session(opened, Toy()).volume is Session(opened, Toy(), axis=2).volume
    with pytest.raises(UserError, match="was opened along axis 2, not 1"):
        Session(opened, Toy(), axis=1)


def with_value(value: float) -> nib.Nifti1Image:
    made = image(affine_of((1.0, 1.0, 2.0)))
    values = made.get_fdata(dtype=np.float32)
    values[1, 2, 3] = value
    return nib.Nifti1Image(values, made.affine)


NO_SIZE = nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4))
NO_SIZE._affine = np.diag([1.0, 0, 1, 1])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (with_value(np.nan), "voxels are NaN"),
        (with_value(np.inf), "voxels are NaN"),
        (nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)), "one channel; its shape"),
        (nib.Nifti1Image(np.zeros((4, 4), np.float32), np.eye(4)), "three axes|needs 3 axes"),
        (nib.Nifti1Image(np.zeros((3, 3, 3), np.complex64), np.eye(4)), "complex"),
    ],
)
def test_images_that_no_session_can_show_are_refused(made, message, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        Session(made, Toy())
    nib.save(made, tmp_path / "image.nii.gz")
    with pytest.raises(UserError, match=message):
        Session(tmp_path / "image.nii.gz", Toy())


def test_voxels_without_a_size_are_refused():
    with pytest.raises(UserError, match="gives the voxels no size"):
        Session(NO_SIZE, Toy())


@pytest.mark.parametrize("axis", [3, -1, True])
def test_an_axis_that_is_none_is_refused(axis):
    with pytest.raises(UserError, match="is none of the axes"):
        Session(image(affine_of((1.0, 1.0, 2.0))), Toy(), axis=axis)


def test_a_missing_file_is_one_error(tmp_path: Path):
    with pytest.raises(UserError, match="no such file"):
        Session(tmp_path / "none.nii.gz", Toy())


def test_whole_numbers_and_scaled_ones_are_read(tmp_path: Path):
    made = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    made.header.set_slope_inter(2.0, -1024.0)
    nib.save(made, tmp_path / "scaled.nii.gz")
    for source in (
        tmp_path / "scaled.nii.gz",
        nib.Nifti1Image.from_filename(tmp_path / "scaled.nii.gz"),
    ):
        volume = Session(source, Toy()).volume
        wanted = np.moveaxis(
            np.asarray(nib.Nifti1Image.from_filename(tmp_path / "scaled.nii.gz").dataobj), 2, 0
        )
        assert volume.image.dtype == np.float32
        np.testing.assert_array_equal(volume.image, wanted.astype(np.float32))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch):
    session = Session(image(affine_of((1.0, 1.0, 2.0))), Toy())
    path = tmp_path / "labels.nii.gz"
    session.save(path)
    content = path.read_bytes()
    session.prompt(click(3, 3), 2)

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (session.save, session.write_log):
        with pytest.raises(UserError, match="No space left on device"):
            write(path)
    assert path.read_bytes() == content and os.listdir(tmp_path) == [path.name]


def test_names_and_folders_that_no_label_map_can_have(tmp_path: Path):
    session = Session(image(affine_of((1.0, 1.0, 2.0))), Toy())
    with pytest.raises(UserError, match="ends in .nii.gz"):
        session.save(tmp_path / "labels.nii")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        session.save(tmp_path / "file" / "labels.nii.gz")
