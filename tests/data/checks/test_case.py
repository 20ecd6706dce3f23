"""Every kind of bad file is refused by name, by the check and by training; odd ones are not."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.configuration import base_config
from invseg_jax.data.checks.case import check_case
from invseg_jax.data.checks.cases import check_cases, refuse_faults
from invseg_jax.data.layouts import Case, Dataset, open_dataset
from invseg_jax.data.source import labelled_cases
from invseg_jax.errors import UserError

SHAPE = (9, 8, 7)
AFFINE = np.diag([1.5, 1.0, 0.5, 1.0])
AFFINE[:3, 3] = (-7, 30, 11)


@dataclass
class Files:
    """The files of one case; a damage may put others in their place."""

    image: Path
    label: Path

    def save(self, name: str, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
        nib.Nifti1Image(array, affine).to_filename(getattr(self, name))

    def array(self, name: str) -> np.ndarray:
        return np.asarray(nib.Nifti1Image.from_filename(getattr(self, name)).dataobj)

    def edit(self, position: int, form: str, *values: float, name: str = "image") -> None:
        """Overwrites fields of the header."""
        path = getattr(self, name)
        content = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into("<" + form, content, position, *values)
        path.write_bytes(gzip.compress(content))


Damage = Callable[[Files], object]
BAD: dict[str, tuple[str, str, Damage]] = {}
GOOD: dict[str, Damage] = {}


def bad(kind: str, text: str) -> Callable[[Damage], Damage]:
    """Registers a damage, the kind of fault that it is and what is said of it."""

    def register(damage: Damage) -> Damage:
        BAD[damage.__name__] = (kind, text, damage)
        return damage

    return register


def good(damage: Damage) -> Damage:
    GOOD[damage.__name__] = damage
    return damage


@bad("file", "no such file")
def image_missing(files: Files) -> None:
    files.image.unlink()


@bad("file", "no such file")
def label_missing(files: Files) -> None:
    files.label.unlink()


@bad("file", "truncated")
def gz_truncated(files: Files) -> None:
    content = files.image.read_bytes()
    files.image.write_bytes(content[: len(content) // 2])


@bad("file", "truncated")
def nii_truncated(files: Files) -> None:
    content = gzip.decompress(files.image.read_bytes())
    files.image = files.image.with_suffix("")
    files.image.write_bytes(content[: len(content) // 2])


@bad("file", "damaged, the gzip stream is corrupt")
def bit_flipped_in_gz(files: Files) -> None:
    # Stored, not compressed: the flipped voxel decodes well, and only the checksum can tell.
    content = bytearray(gzip.compress(gzip.decompress(files.image.read_bytes()), 0))
    content[1000] ^= 1
    files.image.write_bytes(content)


@bad("file", "damaged, the gzip stream is corrupt")
def bytes_overwritten_in_gz(files: Files) -> None:
    content = bytearray(gzip.compress(gzip.decompress(files.label.read_bytes()), 0))
    content[500:564] = bytes(64)
    files.label.write_bytes(content)


@bad("file", "claims a volume of (32767, 32767, 32767)")
def claims_more_than_any_machine_holds(files: Files) -> None:
    files.edit(40, "4h", 3, 32767, 32767, 32767)
    files.edit(70, "2h", 64, 64)


@bad("file", "claims a volume of (1200, 1200, 1200), 6,591.8 MiB")
def bomb(files: Files) -> None:
    files.edit(40, "4h", 3, 1200, 1200, 1200)


@bad("file", "cannot hold more than")
def bomb_below_the_limit(files: Files) -> None:
    files.edit(40, "4h", 3, 1000, 1000, 1000)


@bad("file", "not all positive")
def negative_dimension(files: Files) -> None:
    files.edit(40, "4h", 3, 9, -8, 7)


@bad("file", "not all positive")
def zero_dimension(files: Files) -> None:
    files.edit(40, "4h", 3, 9, 8, 0)


@bad("file", "1 voxels are NaN, infinite or beyond float32, the first at (1, 2, 3)")
def one_nan(files: Files) -> None:
    array = files.array("image").copy()
    array[1, 2, 3] = np.nan
    files.save("image", array)


@bad("file", "voxels are NaN, infinite or beyond float32")
def infinite_voxels(files: Files) -> None:
    files.save("image", np.where(files.array("label") == 1, -np.inf, 1).astype(np.float32))


@bad("file", "pixdim, the spacing, is not finite (1.5, nan, 0.5)")
def pixdim_nan(files: Files) -> None:
    files.edit(84, "f", np.nan)


@bad("file", "no usable affine")
def singular_sform(files: Files) -> None:
    files.edit(280, "4f", 0, 0, 0, 0)


@bad("label", "a label map has 3 axes; its shape is (9, 8, 7, 2)")
def label_of_two_volumes(files: Files) -> None:
    files.save("label", np.stack([files.array("label")] * 2, axis=-1))


@bad("grid", "holds 2 channels")
def image_of_two_channels(files: Files) -> None:
    files.save("image", np.stack([files.array("image")] * 2, axis=-1))


@bad("file", "the file is empty")
def empty_file(files: Files) -> None:
    files.image.write_bytes(b"")


@bad("file", "a git-lfs pointer, not an image; run `git lfs pull`")
def git_lfs_pointer(files: Files) -> None:
    files.label.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")


@bad("file", "not a NIfTI or Analyze image (magic")
def wrong_magic(files: Files) -> None:
    files.edit(344, "4s", b"ni1\0")  # pyright: ignore


@bad("grid", "shapes differ: (9, 8, 7)")
def axes_swapped_in_the_label(files: Files) -> None:
    files.save("label", files.array("label").transpose(2, 1, 0))


@bad("grid", "the affines put a corner")
def axes_swapped_in_the_affine_of_the_label(files: Files) -> None:
    files.save("label", files.array("label"), AFFINE[:, [1, 0, 2, 3]])


@bad("grid", "mm apart (at most 0.1 mm is allowed)")
def label_moved_by_a_fifth_of_a_millimetre(files: Files) -> None:
    moved = AFFINE.copy()
    moved[1, 3] += 0.2
    files.save("label", files.array("label"), moved)


@bad("empty-image", "all voxels are zero")
def image_of_zeros(files: Files) -> None:
    files.save("image", np.zeros(SHAPE, np.float32))


@bad("empty-label", "no voxel of a class besides the background")
def label_of_background(files: Files) -> None:
    files.save("label", np.zeros(SHAPE, np.uint8))


@bad("label", "holds 3, 4, where only 0, 1, 2 are expected")
def label_of_other_values(files: Files) -> None:
    array = files.array("label").copy()
    array[0, 0, :2] = 3, 4
    files.save("label", array)


@bad("label", "holds 0.5, not all whole numbers")
def label_that_was_interpolated(files: Files) -> None:
    array = files.array("label").astype(np.float32)
    array[0, 0, 0] = 0.5
    files.save("label", array)


@bad("file", "voxels are NaN")
def label_with_nan(files: Files) -> None:
    array = files.array("label").astype(np.float32)
    array[0, 0, 0] = np.nan
    files.save("label", array)


@good
def nothing_at_all(files: Files) -> None:
    pass


@good
def sheared_affine(files: Files) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.8
    for name in ("image", "label"):
        files.save(name, files.array(name), sheared)


@good
def label_of_one_volume_on_a_fourth_axis(files: Files) -> None:
    files.save("label", files.array("label")[..., None])


@good
def label_as_scaled_integers(files: Files) -> None:
    files.save("label", files.array("label") * 100)
    files.edit(112, "2f", 0.01, 0.0, name="label")


@good
def label_moved_by_less_than_the_tolerance(files: Files) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += 0.05
    files.save("label", files.array("label"), moved)


@pytest.fixture
def write(tmp_path: Path, rng: np.random.Generator) -> Callable[..., Dataset]:
    """Writes a data set in the Decathlon's layout with one case for each damage."""

    def write(damages: dict[str, Damage]) -> Dataset:
        root = tmp_path / "data"
        entries = []
        for name, damage in damages.items():
            files = Files(root / f"imagesTr/{name}.nii.gz", root / f"labelsTr/{name}.nii.gz")
            for path in (files.image, files.label):
                path.parent.mkdir(parents=True, exist_ok=True)
            files.save("image", rng.normal(size=SHAPE).astype(np.float32))
            files.save("label", rng.integers(0, 3, SHAPE).astype(np.uint8))
            damage(files)
            image, label = (str(p.relative_to(root)) for p in (files.image, files.label))
            entries.append({"image": image, "label": label})
        description = {
            "modality": {"0": "MRI"},
            "labels": {"0": "background", "1": "front", "2": "back"},
            "training": entries,
        }
        (root / "dataset.json").write_text(json.dumps(description))
        return open_dataset("msd", root)

    return write


def test_all_faults_of_all_cases_at_once(write: Callable[..., Dataset]) -> None:
    damages = {name: damage for name, (_, _, damage) in BAD.items()}
    dataset = write(damages | GOOD)
    faults = {fault.case: fault for fault in check_cases(dataset, dataset.cases)}
    assert sorted(faults) == sorted(BAD)
    for name, (kind, text, _) in BAD.items():
        assert faults[name].kind == kind, faults[name]
        assert text in faults[name].text
        assert f"Tr/{name}.nii" in faults[name].text
        assert "\n" not in faults[name].text
        assert str(dataset.root) not in faults[name].text


@pytest.mark.parametrize("name", BAD)
def test_training_refuses(write: Callable[..., Dataset], name: str) -> None:
    kind, text, damage = BAD[name]
    dataset = write({"sound": GOOD["nothing_at_all"], name: damage})
    with pytest.raises(UserError) as caught:
        refuse_faults(base_config(), dataset, labelled_cases(dataset), lambda _: None)
    said = str(caught.value)
    assert said.startswith(f"a fault in the data, the first: case {name}: ")
    assert text in said
    assert said.endswith(f"check_data --layout msd --data {dataset.root}` shows them all")
    assert "\n" not in said


def test_a_case_may_have_several_faults(write: Callable[..., Dataset]) -> None:
    def everything(files: Files) -> None:
        files.save("image", np.zeros(SHAPE, np.float32))
        label_of_other_values(files)
        axes_swapped_in_the_label(files)

    dataset = write({"case": everything})
    kinds = [fault.kind for fault in check_case(dataset, dataset.cases[0])]
    assert kinds == ["empty-image", "grid", "label"]


def test_channels_of_one_file_and_numbers_of_files(write: Callable[..., Dataset]) -> None:
    def two_channels(files: Files) -> None:
        array = files.array("image")
        files.save("image", np.stack([array, np.zeros_like(array)], axis=-1))

    dataset = replace(write({"case": two_channels}), modalities=("a", "b"))
    (case,) = dataset.cases
    (fault,) = check_case(dataset, case)
    assert fault.kind == "empty-image" and "all voxels are zero, channels 1;" in fault.text
    two_of_three = replace(case, images=(dataset.root / "a.nii", dataset.root / "b.nii"))
    (fault,) = check_case(replace(dataset, modalities=("a", "b", "c")), two_of_three)
    assert fault.kind == "listing" and fault.text.startswith("2 image files for 3 modalities;")


def test_every_flipped_bit_of_a_compressed_file_is_caught(write: Callable[..., Dataset]) -> None:
    dataset = write({"case": GOOD["nothing_at_all"]})
    (case,) = dataset.cases
    (image,) = case.images
    content = gzip.compress(gzip.decompress(image.read_bytes()))
    rng = np.random.default_rng(0)
    # After the gzip header, whose time and system are not data; 9 bytes from the end are bits that
    # fill up the last byte before the checksum.
    places = rng.choice(range(10 * 8, (len(content) - 9) * 8), 60, replace=False)
    caught = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << (place % 8)
        image.write_bytes(damaged)
        caught += bool(check_case(dataset, case))
    assert caught == 60


def channels(dataset: Dataset, case: Case) -> tuple[Dataset, Case]:
    """The case's image in two roles, the second one resampled onto the first."""
    (image,) = case.images
    return replace(dataset, modalities=("a", "b"), reference=0), replace(
        case, images=(image, image.with_name("other.nii.gz"))
    )


@pytest.mark.parametrize(
    ("moved", "fault"),
    [((0, 0, 0), False), ((11, 0, 0), False), ((13, 0, 0), True), ((0, 0, -33), True)],
)
def test_with_a_reference_the_others_have_to_overlap_it(
    write: Callable[..., Dataset], moved: tuple[int, int, int], fault: bool
) -> None:
    dataset = write({"case": GOOD["nothing_at_all"]})
    dataset, case = channels(dataset, dataset.cases[0])
    # The reference reaches over 12 x 7 x 3 mm; this one over 12 x 16 x 32 mm, turned by an angle.
    affine = np.diag([4.0, 4.0, 4.0, 1.0]) @ np.array(
        [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    )
    affine[:3, 3] = AFFINE[:3, 3] + moved
    other = nib.Nifti1Image(np.ones((9, 4, 5), np.float32), affine)
    other.to_filename(case.images[1])
    found = check_case(dataset, case)
    assert [f.kind for f in found] == (["grid"] if fault else [])
    if fault:
        assert "other.nii.gz does not overlap imagesTr/case.nii.gz in space" in found[0].text
    # Where nothing is resampled, both have to be on one grid.
    (unresampled,) = check_case(replace(dataset, reference=None), case)
    assert "shapes differ" in unresampled.text


def test_an_analyze_file_cannot_be_resampled(write: Callable[..., Dataset]) -> None:
    dataset = write({"case": GOOD["nothing_at_all"]})
    dataset, case = channels(dataset, dataset.cases[0])
    case = replace(case, images=(case.images[0], case.images[0].with_name("other.hdr")))
    nib.AnalyzeImage(np.ones(SHAPE, np.int16), np.eye(4)).to_filename(case.images[1])
    (fault,) = check_case(dataset, case)
    assert "other.hdr: an Analyze file does not say where it lies" in fault.text


CHILD = """
import re, sys
from pathlib import Path
from invseg_jax.data.checks.case import check_case
from invseg_jax.data.layouts import Case, Dataset
root = Path(sys.argv[1])
dataset = Dataset("bombs", root, ("a",), ("background", "b"), (0, 1), ())
for name in ("float32", "uint8"):
    (fault,) = check_case(dataset, Case(name, (root / f"{name}.nii.gz",), None))
    print(fault.text)
print(re.search("VmHWM: *([0-9]+) kB", Path("/proc/self/status").read_text().replace("\\t", ""))[1])
"""


# Not getrusage's ru_maxrss, which a child takes over from the process that starts it.
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs Linux's account of memory"
)
def test_a_bomb_takes_little_memory(repository: Path, tmp_path: Path) -> None:
    """1200 x 1200 x 1200 voxels are claimed by a file of some 220 kB that holds 220 MB of zeros."""
    for dtype in ("float32", "uint8"):
        header = nib.Nifti1Header()
        header.set_data_dtype(dtype)
        header.set_data_shape((1200, 1200, 1200))
        header.set_sform(np.eye(4), code=1)
        header["vox_offset"] = 352
        packer = zlib.compressobj(9, wbits=31)
        parts = [packer.compress(header.binaryblock + bytes(4))]
        parts += [packer.compress(bytes(1 << 20)) for _ in range(220)]
        (tmp_path / f"{dtype}.nii.gz").write_bytes(b"".join((*parts, packer.flush())))
        assert (tmp_path / f"{dtype}.nii.gz").stat().st_size < 250_000
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=True,
    )
    claims, truncated, peak = child.stdout.splitlines()
    assert (
        "claims a volume of (1200, 1200, 1200), 6,591.8 MiB, above the limit of 4,096.0 MiB"
        in claims
    )
    assert "truncated, the header claims 1728000352 bytes" in truncated
    assert int(peak) * 1024 < 300e6, f"{int(peak) * 1024 / 1e6:.0f} MB"
