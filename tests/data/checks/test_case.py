"""Every kind of bad file is refused by name, by the check and by training; odd ones are not."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.batches.source import labelled_cases
from invseg_jax.data.checks.case import check_case, shown_from
from invseg_jax.data.checks.cases import check_cases, refuse_faults
from invseg_jax.data.layouts import Case, Dataset, open_dataset
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings
from tests.data.checks.damages import (
    AFFINE,
    BAD,
    GOOD,
    SHAPE,
    Damage,
    Files,
    axes_swapped_in_the_label,
    label_of_other_values,
)


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
        refuse_faults(DataSettings(), dataset, labelled_cases(dataset), lambda _: None)
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
    # A voxel reaches 2 mm beyond its centre.
    [((0, 0, 0), False), ((13, 0, 0), False), ((15, 0, 0), True), ((0, 0, -35), True)],
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
    other = nib.Nifti1Image(np.arange(180, dtype=np.float32).reshape(9, 4, 5), affine)
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
    nib.AnalyzeImage(np.arange(180, dtype=np.int16).reshape(9, 4, 5), np.eye(4)).to_filename(
        case.images[1]
    )
    (fault,) = check_case(dataset, case)
    assert "other.hdr: the header does not say where it lies" in fault.text
    # Of the same shape and spacing it is taken as it is, as `load_case` does.
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    nib.AnalyzeImage(array, np.eye(4)).to_filename(case.images[1])
    assert len(check_case(dataset, case)) == 1
    nib.AnalyzeImage(array, np.diag(np.diag(AFFINE))).to_filename(case.images[1])
    assert check_case(dataset, case) == []


def test_paths_start_from_the_root() -> None:
    text = "rawdata/a.nii: not data/a.nii but data/b.nii (data/c.nii)"
    assert shown_from(Path("data"), text) == "rawdata/a.nii: not a.nii but b.nii (c.nii)"


CHILD = """
import re, sys
from pathlib import Path
from invseg_jax.data.checks.case import check_case, shown_from
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
