"""Cases are read as nibabel reads them; faulty ones have to be refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.processing import resample_from_to
from nibabel.spm2analyze import Spm2AnalyzeImage

from invseg_jax.data.layouts import Case, Dataset, open_dataset
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.prepare.loaded_case import load_case
from invseg_jax.errors import UserError
from invseg_jax.experiment import PlainSettings
from tests.nifti_bytes import METRE, MICRON, nifti, phantom, write_cases
from tests.nifti_bytes import affine as nifti_affine

Write = Callable[..., Path]


def test_iseg_case(write_iseg: Write) -> None:
    root = write_iseg(labelled=(1,), unlabelled=(2,))
    dataset = open_dataset("iseg", root)
    loaded = load_case(dataset, dataset.cases[0])
    assert loaded.id == "subject-1"
    assert loaded.image.shape == (7, 6, 5, 2) and loaded.image.dtype == np.float32
    assert loaded.image.flags.c_contiguous
    stored = Spm2AnalyzeImage.from_filename(root / "subject-1-label.hdr").get_fdata()[..., 0]
    assert loaded.label is not None and loaded.label.dtype == np.uint8
    np.testing.assert_array_equal(np.array(dataset.values)[loaded.label], stored)
    raw = np.stack(
        [
            Spm2AnalyzeImage.from_filename(root / f"subject-1-{kind}.hdr").get_fdata()[..., 0]
            for kind in ("T1", "T2")
        ],
        axis=-1,
    )
    np.testing.assert_array_equal(loaded.image, raw)
    assert load_case(dataset, dataset.cases[1]).label is None


def test_msd_case_with_modalities_last(write_msd: Write) -> None:
    root = write_msd(modalities=3)
    dataset = open_dataset("msd", root)
    loaded = load_case(dataset, dataset.cases[1])
    raw = nib.Nifti1Image.from_filename(root / "imagesTr/organ_10.nii.gz").get_fdata()
    np.testing.assert_array_equal(loaded.image, raw)
    np.testing.assert_array_equal(
        loaded.label, nib.Nifti1Image.from_filename(root / "labelsTr/organ_10.nii.gz").get_fdata()
    )
    np.testing.assert_array_equal(loaded.affine, np.diag([2.0, 1.0, 0.5, 1.0]))


def replace(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    affine = np.diag([2.0, 1.0, 0.5, 1.0]) if affine is None else affine
    nib.Nifti1Image(array, affine).to_filename(path)


def refused(layout: str, root: Path, *matches: str) -> None:
    dataset = open_dataset(layout, root)
    with pytest.raises(UserError) as caught:
        load_case(dataset, dataset.cases[0])
    message = str(caught.value)
    assert message.startswith(f"case {dataset.cases[0].id}: ") and "\n" not in message
    for match in matches:
        assert match in message


def test_unexpected_label_values(write_msd: Write) -> None:
    root = write_msd()
    label = np.zeros((7, 6, 5), np.uint8)
    label[0, 0, :2] = (7, 255)
    replace(root / "labelsTr/organ_2.nii.gz", label)
    refused("msd", root, "organ_2.nii.gz", "holds 7, 255", "only 0, 1, 2 are expected")
    replace(root / "labelsTr/organ_2.nii.gz", np.full((7, 6, 5), -1, np.int16))
    refused("msd", root, "holds -1,")
    replace(root / "labelsTr/organ_2.nii.gz", np.full((7, 6, 5), 0.5, np.float32))
    refused("msd", root, "holds 0.5, not all whole numbers")


def test_label_values_with_round_off_of_a_scale_factor(write_msd: Write) -> None:
    root = write_msd()
    label = np.full((7, 6, 5), 2, np.float32)
    label[0] = 0.99998
    replace(root / "labelsTr/organ_2.nii.gz", label)
    dataset = open_dataset("msd", root)
    loaded = load_case(dataset, dataset.cases[0]).label
    assert loaded is not None
    assert (loaded[0] == 1).all() and (loaded[1:] == 2).all()


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "float32"])
def test_the_type_of_a_label_map_does_not_count(write_msd: Write, dtype: str) -> None:
    """That of one byte, which is the usual one, is looked up in a table."""
    root = write_msd(labels={"0": "background", "9": "far", "100": "farther"})
    path = root / "labelsTr/organ_2.nii.gz"
    label = np.random.default_rng(0).choice([0, 9, 100], (7, 6, 5))
    dataset = open_dataset("msd", root)
    for kind in ("uint8", dtype):
        replace(path, label.astype(kind))
        loaded = load_case(dataset, dataset.cases[0]).label
        assert loaded is not None and loaded.dtype == np.uint8 and loaded.flags.c_contiguous
        np.testing.assert_array_equal(loaded, np.searchsorted([0, 9, 100], label))
        bad = label.copy()
        bad[1, 2, 3] = 7
        replace(path, bad.astype(kind))
        refused("msd", root, "holds 7", "only 0, 9, 100 are expected")


def test_label_of_four_axes(write_msd: Write) -> None:
    root = write_msd()
    replace(root / "labelsTr/organ_2.nii.gz", np.zeros((7, 6, 5, 2), np.uint8))
    refused("msd", root, "organ_2.nii.gz: a label map has 3 axes; its shape is (7, 6, 5, 2)")


@pytest.mark.parametrize("shape", [(7, 6, 4), (6, 7, 5)])
def test_label_of_another_shape(write_msd: Write, shape: tuple[int, ...]) -> None:
    root = write_msd()
    replace(root / "labelsTr/organ_2.nii.gz", np.zeros(shape, np.uint8))
    refused("msd", root, "(7, 6, 5) in", str(shape), "imagesTr/organ_2", "labelsTr/organ_2")


def test_label_of_another_place(write_msd: Write) -> None:
    root = write_msd()
    path, label = root / "labelsTr/organ_2.nii.gz", np.zeros((7, 6, 5), np.uint8)
    affine = np.diag([2.0, 1.0, 0.5, 1.0])
    affine[0, 3] = 0.19  # of voxels of 2 mm: less than a tenth
    replace(path, label, affine)
    dataset = open_dataset("msd", root)
    load_case(dataset, dataset.cases[0])
    affine[0, 3] = 0.21
    replace(path, label, affine)
    refused("msd", root, "0.21 mm apart", "labelsTr/organ_2.nii.gz")
    # Off by 0.04 mm a voxel: nothing at the first corner, 0.24 mm at the last.
    replace(path, label, np.diag([2.04, 1.0, 0.5, 1.0]))
    refused("msd", root, "0.24 mm apart")


def test_analyze_origins_are_not_compared(write_iseg: Write) -> None:
    root = write_iseg(labelled=(1,))
    content = bytearray((root / "subject-1-label.hdr").read_bytes())
    content[253:259] = (3).to_bytes(2, "little") * 3  # SPM's origin
    (root / "subject-1-label.hdr").write_bytes(content)
    dataset = open_dataset("iseg", root)
    assert load_case(dataset, dataset.cases[0]).label is not None


def test_modalities_of_different_shapes(write_iseg: Write) -> None:
    root = write_iseg(labelled=(1,))
    other = write_iseg(labelled=(1,), folder="other", shape=(7, 6, 4))
    for ending in ("hdr", "img"):
        (other / f"subject-1-T2.{ending}").replace(root / f"subject-1-T2.{ending}")
    refused("iseg", root, "(7, 6, 5) in", "subject-1-T1", "(7, 6, 4) in", "subject-1-T2")


def test_wrong_number_of_modalities(write_msd: Write) -> None:
    dataset = open_dataset("msd", write_msd(modalities=2))
    path = dataset.cases[0].images[0]

    def load(images: tuple[Path, ...], modalities: int) -> None:
        wanted = dataclasses.replace(dataset, modalities=("M",) * modalities)
        load_case(wanted, Case("two", images, None))

    with pytest.raises(UserError, match="case two: .*holds 2 modalities .*, 1 expected"):
        load((path,), 1)
    with pytest.raises(UserError, match="holds 2 modalities .*, 4 expected"):
        load((path,), 4)
    with pytest.raises(UserError, match="2 image files for 4 modalities"):
        load((path, path), 4)
    with pytest.raises(UserError, match="holds 2 modalities .*, 1 expected"):
        load((path, path), 2)


def write_pair(folder: Path, rng: np.random.Generator) -> Dataset:
    """An MR with a label map, and a PET on a coarser grid that reaches less far."""
    mr, pet = np.diag([1.0, 1.0, 2.0, 1.0]), np.diag([2.0, 2.0, 2.0, 1.0])
    pet[:3, 3] = (2, 2, 0)
    for name, shape, affine in (("mr", (12, 10, 5), mr), ("pet", (4, 3, 5), pet)):
        replace(folder / f"{name}.nii.gz", rng.random(shape).astype(np.float32) + 1, affine)
    label = rng.integers(0, 2, (12, 10, 5)).astype(np.uint8)
    replace(folder / "label.nii.gz", label, mr)
    images = (folder / "mr.nii.gz", folder / "pet.nii.gz")
    case = Case("pair", images, folder / "label.nii.gz")
    return Dataset("pair", folder, ("MR", "PET"), ("background", "a"), (0, 1), (case,))


def test_modalities_on_other_grids(tmp_path: Path, rng: np.random.Generator) -> None:
    dataset = write_pair(tmp_path, rng)
    (case,) = dataset.cases
    with pytest.raises(UserError, match="case pair: shapes differ.*bring both onto one grid"):
        load_case(dataset, case)
    loaded = load_case(dataclasses.replace(dataset, reference=0), case)
    mr, pet = (nib.Nifti1Image.from_filename(path) for path in case.images)
    np.testing.assert_array_equal(loaded.image[..., 0], mr.get_fdata())
    np.testing.assert_array_equal(loaded.affine, mr.affine)
    expected = resample_from_to(pet, mr, order=1).get_fdata()
    inside = expected != 0
    np.testing.assert_allclose(loaded.image[inside, 1], expected[inside], atol=1e-6)
    # The first MR column lies 2 mm before the first PET centre, which reaches 1 mm before it.
    assert not loaded.image[0, ..., 1].any() and loaded.image[1, 1:7, :, 1].all()
    # Label maps belong to the reference; as the PET's they are of another shape.
    with pytest.raises(UserError, match="shapes differ: .*pet.nii.gz.*label.nii.gz"):
        load_case(dataclasses.replace(dataset, reference=1), case)
    alone = dataclasses.replace(case, label=None)
    loaded = load_case(dataclasses.replace(dataset, reference=1), alone)
    np.testing.assert_array_equal(loaded.image[..., 1], pet.get_fdata())
    np.testing.assert_array_equal(loaded.affine, pet.affine)
    assert loaded.image[..., 0].min() >= 1


def test_a_modality_that_lies_elsewhere_is_not_filled_with_air(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    dataset = dataclasses.replace(write_pair(tmp_path, rng), reference=0)
    # The MR has centres from 0 to 11 mm along the first axis; a PET voxel reaches 1 mm further.
    for first, refused in ((11.9, False), (12.1, True), (-6.9, False), (-7.1, True)):
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        affine[:3, 3] = (first, 2, 0)
        replace(tmp_path / "pet.nii.gz", rng.random((4, 3, 5)).astype(np.float32) + 1, affine)
        if refused:
            with pytest.raises(UserError, match=r"case pair: .*pet.nii.gz does not overlap .*mr"):
                load_case(dataset, dataset.cases[0])
        else:
            assert load_case(dataset, dataset.cases[0]).image[..., 1].any()


def test_single_slices_that_lie_a_part_of_a_voxel_apart_overlap(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    dataset = dataclasses.replace(write_pair(tmp_path, rng), reference=0)
    mr, pet = np.diag([1.0, 1.0, 4.0, 1.0]), np.diag([1.0, 1.0, 4.0, 1.0])
    pet[2, 3] = 1.0
    slices = rng.random((2, 6, 5, 1)).astype(np.float32) + 1
    replace(tmp_path / "mr.nii.gz", slices[0], mr)
    replace(tmp_path / "pet.nii.gz", slices[1], pet)
    case = dataclasses.replace(dataset.cases[0], label=None)
    np.testing.assert_array_equal(load_case(dataset, case).image[..., 1], slices[1])


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_beyond_the_view_of_a_ct_is_air(
    tmp_path: Path, rng: np.random.Generator, interpolation: str
) -> None:
    dataset = dataclasses.replace(write_pair(tmp_path, rng), reference=0)
    pet = nib.Nifti1Image.from_filename(tmp_path / "pet.nii.gz")
    reached = load_case(dataset, dataset.cases[0]).image[..., 1] != 0
    hounsfield = rng.integers(-1024, 1500, pet.shape).astype(np.int16)
    hounsfield[1, 1, 1] = -1024
    replace(tmp_path / "pet.nii.gz", hounsfield, np.asarray(pet.affine))
    ct = load_case(dataset, dataset.cases[0], interpolation).image[..., 1]
    assert (~reached).any() and (ct[~reached] == -1024).all()
    assert np.unique(ct[reached]).size > 50


def test_an_analyze_file_has_no_place(tmp_path: Path, rng: np.random.Generator) -> None:
    dataset = dataclasses.replace(write_pair(tmp_path, rng), reference=0)
    Spm2AnalyzeImage(np.ones((4, 3, 5), np.int16), np.eye(4)).to_filename(tmp_path / "pet.hdr")
    images = (dataset.cases[0].images[0], tmp_path / "pet.hdr")
    with pytest.raises(UserError, match="pet.hdr: cannot be brought onto .*give both an sform"):
        load_case(dataset, Case("pair", images, None))


def test_ignored_values(write_msd: Write) -> None:
    root = write_msd()
    label = np.zeros((7, 6, 5), np.uint8)
    label[0], label[1] = 2, 99
    replace(root / "labelsTr/organ_2.nii.gz", label)
    refused("msd", root, "holds 99", "only 0, 1, 2 are expected")
    dataset = dataclasses.replace(open_dataset("msd", root), ignore=99)
    loaded = load_case(dataset, dataset.cases[0])
    np.testing.assert_array_equal(loaded.label, np.where(label == 99, IGNORED, label))
    many = dataclasses.replace(dataset, values=tuple(range(256)))
    with pytest.raises(UserError, match="256 classes; there can be 255"):
        load_case(many, dataset.cases[0])


def test_damaged_files_name_the_case(write_msd: Write) -> None:
    root = write_msd()
    path = root / "imagesTr/organ_2.nii.gz"
    path.write_bytes(path.read_bytes()[:-10])
    refused("msd", root, str(path), "truncated")


def test_real_cases(hippocampus: Path) -> None:
    dataset = open_dataset("msd", hippocampus)
    for case in dataset.cases[::40]:
        loaded = load_case(dataset, case)
        assert loaded.label is not None
        assert loaded.image.shape == (*loaded.label.shape, 1)
        assert set(np.unique(loaded.label)) == {0, 1, 2}
        np.testing.assert_array_equal(
            loaded.image,
            nib.Nifti1Image.from_filename(case.images[0]).get_fdata()[..., None],
        )


def test_files_of_one_lattice_are_brought_onto_the_axes_of_the_image(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    affine = np.array(
        [[1.9, 0.2, -0.1, 7], [-0.25, 1.4, 0.3, -20], [0.1, -0.2, 3, 4], [0, 0, 0, 1]]
    )
    first, second = rng.normal(size=(2, 7, 6, 5)).astype(np.float32)
    label = rng.integers(0, 3, (7, 6, 5)).astype(np.uint8)
    plain = PlainSettings(
        images=(("a", "*_a.nii"), ("b", "*_b.nii")),
        label="*_l.nii",
        classes=(("front", 1), ("back", 2)),
    )
    for turn in ([[0, -1], [1, -1], [2, 1]], [[2, 1], [0, 1], [1, -1]], [[1, 1], [0, 1], [2, -1]]):
        nib.Nifti1Image(first, affine).to_filename(tmp_path / "x_a.nii")
        for name, array in (("b", second), ("l", label)):
            stored = nib.Nifti1Image(array, affine).as_reoriented(turn)
            stored.to_filename(tmp_path / f"x_{name}.nii")
        dataset = open_dataset("plain", tmp_path, plain)
        loaded = load_case(dataset, dataset.cases[0])
        np.testing.assert_array_equal(loaded.image[..., 0], first)
        np.testing.assert_array_equal(loaded.image[..., 1], second)
        np.testing.assert_array_equal(loaded.label, label)


@pytest.mark.parametrize(("units", "scale"), [(METRE, 1e-3), (MICRON, 1e3)])
def test_an_image_and_a_label_map_in_other_units(tmp_path: Path, units: int, scale: float) -> None:
    here = nifti_affine((0.5, 0.5, 0.5), (-5.5, -6.5, -4.5))
    there = nifti_affine(np.full(3, 0.5 * scale), np.array([-5.5, -6.5, -4.5]) * scale)
    root = tmp_path / "units"
    write_cases(
        root, 1, image=lambda _, a: nifti(a, there, units=units), label=lambda _, a: nifti(a, here)
    )
    dataset = open_dataset("msd", root)
    loaded = load_case(dataset, dataset.cases[0])
    np.testing.assert_allclose(loaded.affine, here, rtol=1e-6)
    image, label = phantom(200)
    np.testing.assert_array_equal(loaded.image[..., 0], image)
    np.testing.assert_array_equal(loaded.label, label)
    # Shifted by its own length along x, in the image's unit: another place.
    moved = there.copy()
    moved[0, 3] += 23 * 0.5 * scale
    write_cases(
        root, 1, image=lambda _, a: nifti(a, moved, units=units), label=lambda _, a: nifti(a, here)
    )
    with pytest.raises(UserError, match=r"put a corner 11\.5 mm apart"):
        load_case(dataset, dataset.cases[0])
