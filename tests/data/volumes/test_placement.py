"""A label map lies where its image lies, in the eyes of nibabel and of ITK, whatever the header."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.spm2analyze import Spm2AnalyzeImage

from invseg_jax.data.volumes.nifti import Volume, read_volume, write_label_map
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.errors import UserError
from tests.nifti_bytes import METRE, MICRON, MM, nifti, quaternion, save

SHAPE = (5, 4, 3)
SPACING = np.array([2.0, 1.5, 3.25])
ORIGIN = np.array([-31.0, 17.0, 8.5])
UNITS = {"mm": (MM, 1.0), "um": (MICRON, 1000.0), "m": (METRE, 0.001), "unknown": (0, 1.0)}
FORMS = ("sform", "qform", "equal", "different", "neither")
TURNS = [
    np.eye(3)[list(order)] * signs
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


def placed(turn: np.ndarray, scale: float, spacing: np.ndarray = SPACING) -> np.ndarray:
    """(4, 4) in the header's unit, of which a millimetre has `scale`."""
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing * scale
    affine[:3, 3] = ORIGIN * scale
    return affine


def header_fields(form: str, turn: np.ndarray, scale: float) -> dict:
    """Of an image that says its place in one form, in both, or in neither."""
    (b, c, d), qfac = quaternion(turn)
    fields = {"sform": 0, "qform": 0, "quat": (b, c, d), "qfac": qfac, "qoff": ORIGIN * scale}
    if form in ("sform", "equal", "different"):
        fields["sform"] = 4
    if form in ("qform", "equal", "different"):
        fields["qform"] = 2
    if form == "different":
        # The scanner's place; the sform leads to an atlas.
        fields["qoff"] = (ORIGIN + [40, -7, 3]) * scale
        (b, c, d), qfac = quaternion(turn * (-1, 1, 1))
        fields |= {"quat": (b, c, d), "qfac": qfac}
    return fields


def write_map_beside(path: Path) -> tuple[Volume, Path]:
    """Reads an image, and writes a label map of it."""
    volume = read_volume(path)
    target = path.parent / "map.nii.gz"
    write_label_map(target, np.ones(volume.array.shape[:3], np.uint8), volume.placement)
    return volume, target


def opened(path: Path) -> Any:
    """An image of nibabel's, whose stubs do not know which kind it will be."""
    return nib.load(path)


def itk_geometry(path: Path) -> tuple[np.ndarray, ...]:
    image = sitk.ReadImage(str(path))
    return tuple(map(np.array, (image.GetOrigin(), image.GetSpacing(), image.GetDirection())))


def assert_same_place(image: Path, label_map: Path) -> None:
    for one, other in zip(itk_geometry(image), itk_geometry(label_map), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)
    here, there = opened(image), opened(label_map)
    np.testing.assert_allclose(there.affine, here.affine, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("form", FORMS)
def test_the_label_map_lies_where_the_image_lies(tmp_path: Path, form: str, unit: str) -> None:
    units, scale = UNITS[unit]
    data = np.zeros(SHAPE, np.int16)
    for turn in TURNS:
        fields = header_fields(form, turn, scale)
        affine = placed(turn, scale)
        image = save(tmp_path / "image.nii", nifti(data, affine, units=units, **fields))
        volume, target = write_map_beside(image)
        assert_same_place(image, target)
        here, there = opened(image).header, opened(target).header
        for name in ("sform_code", "qform_code", "xyzt_units"):
            assert int(there[name]) == int(here[name]), name
        for name in ("srow_x", "srow_y", "srow_z", "pixdim"):
            np.testing.assert_array_equal(there[name][:4], here[name][:4], name)
        if form != "neither":
            # Inside, all is in mm; the sform goes before the qform.
            np.testing.assert_allclose(volume.affine, placed(turn, 1.0), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(volume.spacing, SPACING, rtol=1e-6)
        assert volume.oriented is (form != "neither")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_analyze_image_has_no_place_and_neither_has_its_label_map(tmp_path: Path) -> None:
    for turn in TURNS:
        image = Spm2AnalyzeImage(np.zeros(SHAPE, np.int16), placed(turn, 1.0))
        image.header["origin"][:3] = 0
        image.to_filename(tmp_path / "image.hdr")
        (tmp_path / "image.mat").unlink()  # without it nibabel sees what every other program sees
        volume, target = write_map_beside(tmp_path / "image.hdr")
        assert_same_place(tmp_path / "image.hdr", target)
        header = opened(target).header
        assert int(header["sform_code"]) == int(header["qform_code"]) == 0
        assert int(header["xyzt_units"]) == 0
        assert not volume.oriented
        np.testing.assert_allclose(volume.spacing, SPACING)


def test_a_sheared_sform_stays_sheared(tmp_path: Path) -> None:
    sheared = placed(np.eye(3), 1.0)
    sheared[:3, :3] = [[1.1, 0.05, 0], [0, 1.08, 0.04], [0, 0, 1.2]]
    content = nifti(
        np.zeros(SHAPE, np.int16), sheared, sform=4, qform=1, qoff=ORIGIN, pixdim=[1] * 8
    )
    volume, target = write_map_beside(save(tmp_path / "image.nii.gz", content))
    assert_same_place(tmp_path / "image.nii.gz", target)
    written = opened(target)
    np.testing.assert_allclose(written.get_sform(), sheared, rtol=1e-6)
    np.testing.assert_allclose(written.get_qform(), opened(tmp_path / "image.nii.gz").get_qform())
    np.testing.assert_allclose(volume.affine, sheared, rtol=1e-6)
    assert any("sform and qform put a corner" in note for note in volume.notes)
    assert any("pixdim gives voxels of 1 x 1 x 1 mm" in note for note in volume.notes)


def test_how_far_sform_and_qform_lie_apart_is_said_in_mm(tmp_path: Path) -> None:
    for units, scale in UNITS.values():
        shifted = nifti(
            np.zeros(SHAPE, np.int16),
            placed(np.eye(3), scale),
            units=units,
            qform=1,
            qoff=(ORIGIN + [0, 12.0, 0]) * scale,
        )
        (note,) = read_volume(save(tmp_path / "image.nii", shifted)).notes
        assert note.startswith("sform and qform put a corner 12 mm apart")


def test_equal_forms_and_forms_that_a_rounding_parts_need_no_word(tmp_path: Path) -> None:
    for turn in TURNS:
        fields = header_fields("equal", turn, 1.0)
        fields["qoff"] = ORIGIN + [0.1, 0.0, 0.0]  # less than a tenth of the smallest spacing
        content = nifti(np.zeros(SHAPE, np.int16), placed(turn, 1.0), **fields)
        assert read_volume(save(tmp_path / "image.nii", content)).notes == ()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("broken", [0.0, np.nan])
def test_a_sform_that_is_none_leaves_the_place_to_the_qform(
    tmp_path: Path, broken: float, unit: str
) -> None:
    units, scale = UNITS[unit]
    for turn in TURNS[::7]:
        fields = header_fields("equal", turn, scale)
        fields["pixdim"] = [fields.pop("qfac"), *SPACING * scale, 0, 0, 0, 0]
        matrix = np.full((4, 4), broken)
        content = nifti(np.zeros(SHAPE, np.int16), matrix, units=units, **fields)
        volume, target = write_map_beside(save(tmp_path / "image.nii", content))
        np.testing.assert_allclose(volume.affine, placed(turn, 1.0), atol=1e-4)
        (note,) = volume.notes
        assert note.startswith("the sform is singular or not finite; the qform is used")
        if broken == 0:  # of NaN, ITK makes NaN
            here, there = itk_geometry(tmp_path / "image.nii"), itk_geometry(target)
            for one, other in zip(here, there, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("excess", [1e-7, 4e-7, 1e-6, 5e-6, 1e-5])
def test_a_quaternion_longer_than_1_by_a_rounding_is_read(tmp_path: Path, excess: float) -> None:
    direction = np.array([1, 0.2, -0.1])
    direction /= np.linalg.norm(direction)
    fields = {"sform": 0, "qform": 1, "qoff": ORIGIN}
    content = nifti(
        np.zeros(SHAPE, np.int16), np.eye(4), quat=direction * np.sqrt(1 + excess), **fields
    )
    volume, target = write_map_beside(save(tmp_path / "image.nii", content))
    # A half turn about the direction: Rodrigues' formula.
    np.testing.assert_allclose(
        volume.affine[:3, :3], 2 * np.outer(direction, direction) - np.eye(3), atol=2e-6
    )
    # ITK reads the image as well; of nibabel, the label map can at least be read.
    for one, other in zip(itk_geometry(target), itk_geometry(tmp_path / "image.nii"), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(opened(target).affine, volume.affine, atol=1e-5)


def test_a_short_quaternion_is_not_made_longer(tmp_path: Path) -> None:
    angle = 3.13  # almost half a turn: a is 0.006, and its square less than 1e-4
    quat = (np.sin(angle / 2), 0.0, 0.0)
    content = nifti(np.zeros(SHAPE, np.int16), np.eye(4), sform=0, qform=1, quat=quat)
    volume = read_volume(save(tmp_path / "image.nii", content))
    cosine, sine = np.cos(angle), np.sin(angle)
    expected = [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]
    np.testing.assert_allclose(volume.affine[:3, :3], expected, atol=1e-4)


def test_placement_of_an_affine_is_what_nibabel_reads_back(tmp_path: Path) -> None:
    for turn in TURNS:
        affine = placed(turn, 1.0)
        placement = Placement.of_affine(affine)
        write_label_map(tmp_path / "map.nii.gz", np.zeros(SHAPE, np.uint8), placement)
        image = opened(tmp_path / "map.nii.gz")
        for form in (image.get_sform(coded=True), image.get_qform(coded=True)):
            assert form[1] == 1
            np.testing.assert_allclose(form[0], affine, atol=1e-5)
        np.testing.assert_allclose(np.array(placement.qform), affine, atol=1e-5)
        np.testing.assert_allclose(np.array(placement.sform), affine, atol=1e-6)
        assert image.header.get_xyzt_units()[0] == "mm"


def test_an_axis_too_long_for_nifti_1_makes_a_nifti_2_file(tmp_path: Path) -> None:
    labels = np.zeros((40_000, 1, 2), np.uint8)
    labels[39_999, 0, 1] = 3
    write_label_map(tmp_path / "map.nii.gz", labels, Placement.of_affine(placed(TURNS[7], 1.0)))
    image = opened(tmp_path / "map.nii.gz")
    assert isinstance(image, nib.Nifti2Image)
    np.testing.assert_array_equal(np.asarray(image.dataobj), labels)
    np.testing.assert_allclose(np.asarray(image.affine), placed(TURNS[7], 1.0))
    np.testing.assert_array_equal(read_volume(tmp_path / "map.nii.gz").array, labels)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sform_code", 70_000),
        ("qform_code", 2**31 - 1),
        ("xyzt_units", 2 + 512),
        ("qoffset_x", 1e39),
    ],
)
def test_what_only_nifti_2_can_hold_makes_a_nifti_2_file(
    tmp_path: Path, field: str, value: float
) -> None:
    header = nib.Nifti2Header()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.int16)
    header.set_sform(placed(TURNS[7], 1.0), code=1)
    header["pixdim"][1:4], header["xyzt_units"] = SPACING, 2
    plain = bytes(header.binaryblock) + bytes(4 + 2 * np.prod(SHAPE))
    header[field] = value
    for content, kind in (
        (plain, nib.Nifti1Image),
        (bytes(header.binaryblock) + plain[540:], nib.Nifti2Image),
    ):
        volume, target = write_map_beside(save(tmp_path / "image.nii", content))
        image = opened(target)
        assert type(image) is kind
        if kind is nib.Nifti2Image:
            stored = nib.Nifti2Header(gzip.decompress(target.read_bytes())[:540], check=False)
            assert stored[field] == value  # nibabel makes codes that it does not know 0
        np.testing.assert_allclose(read_volume(target).affine, placed(TURNS[7], 1.0))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [1e200, -1e308, np.inf, np.nan])
def test_numbers_that_no_affine_has_are_one_line(tmp_path: Path, number: float) -> None:
    header = nib.Nifti2Header()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.int16)
    header.set_sform(placed(TURNS[7], 1.0), code=1)
    header["srow_x"][1] = number
    content = bytes(header.binaryblock) + bytes(4 + 2 * np.prod(SHAPE))
    with pytest.raises(UserError, match="no usable affine"):
        read_volume(save(tmp_path / "image.nii", content))
