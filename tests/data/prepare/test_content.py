"""The same scan has one digest however it is stored; another scan has another."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, inv_ornt_aff

from invseg_jax.data.layouts import Case, open_dataset
from invseg_jax.data.prepare import content
from invseg_jax.data.prepare.content import (
    Content,
    case_digest,
    images_digest,
    known_content,
    volume_content,
)
from invseg_jax.data.prepare.file_digest import file_digest
from invseg_jax.data.prepare.scan_memory import file_states
from invseg_jax.data.volumes.nifti import Volume
from invseg_jax.data.volumes.placement import Placement
from invseg_jax.errors import UserError
from invseg_jax.files import file_times
from tests.nifti_bytes import MICRON, affine, nifti, phantom, save

SHAPE = (4, 5, 6)
VALUES = np.random.default_rng(0).integers(0, 120, SHAPE)
# Spacings 1.2 x 0.9 x 2.5 mm along axes that are turned by 20 degrees.
TURN = np.array([[np.cos(0.35), -np.sin(0.35), 0], [np.sin(0.35), np.cos(0.35), 0], [0, 0, 1]])
PLACE = np.eye(4)
PLACE[:3, :3] = TURN * (1.2, 0.9, 2.5)
PLACE[:3, 3] = (-30, 12, 55)
ORIENTATIONS = [
    np.column_stack([axes, signs])
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
TYPES = ("uint8", "int8", "int16", "uint16", "int32", "int64", "uint64", "float32", "float64")


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty memory, which believes files that have just been written."""
    monkeypatch.setattr(file_times, "_SETTLED_NS", -(10**9))
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "digests"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose voxels are read."""
    names: list[str] = []
    read = content.read_volume

    def read_and_tell(path: Path) -> Volume:
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(content, "read_volume", read_and_tell)
    return names


def turned(
    orientation: np.ndarray, array: np.ndarray = VALUES, matrix: np.ndarray = PLACE
) -> tuple[np.ndarray, np.ndarray]:
    """The same volume with its axes stored in another way, by nibabel, and its affine."""
    place = matrix @ inv_ornt_aff(orientation, array.shape)
    return apply_orientation(array, orientation), place


def of(array: np.ndarray, matrix: np.ndarray = PLACE, *, oriented: bool = True) -> Content:
    placement = Placement.of_affine(matrix)
    if not oriented:
        placement = replace(placement, sform_code=0, qform_code=0)
    return Content.of(Volume(array, matrix, Path("x.nii"), placement))


@given(
    orientation=st.sampled_from(ORIENTATIONS),
    dtype=st.sampled_from(TYPES),
    order=st.sampled_from("<>"),
    level=st.sampled_from([None, 0, 1, 9]),
    halved=st.booleans(),
)
def test_one_scan_stored_in_many_ways(
    orientation: np.ndarray, dtype: str, order: str, level: int | None, halved: bool
) -> None:
    array, matrix = turned(orientation)
    fields = {"descrip": b"exported"} if level else {}
    if halved:  # as integers with a factor and an offset
        blob = nifti((array * 2 + 6).astype(np.int16), matrix, end=order, slope=0.5, inter=-3)
    else:
        blob = nifti(array.astype(dtype), matrix, end=order, **fields)
    with tempfile.TemporaryDirectory() as folder:
        name = "a.nii" if level is None else "a.nii.gz"
        path = save(Path(folder) / name, blob, level or 0)
        found = volume_content(path)
    assert found.scan == of(VALUES).scan
    (channel,) = found.channels
    assert (channel.minimum, channel.maximum) == (VALUES.min(), VALUES.max())


def test_all_48_orientations_are_one_scan_and_48_places() -> None:
    found = [of(*turned(orientation)) for orientation in ORIENTATIONS]
    assert len({entry.scan for entry in found}) == 1
    # A prepared case depends on the file's own axes.
    assert len({entry.exact for entry in found}) == 48


@given(
    place=st.tuples(*(st.integers(0, n - 1) for n in SHAPE)),
    axis=st.integers(0, 2),
    factor=st.sampled_from([0.95, 1.05, 2.0]),
    orientation=st.sampled_from(ORIENTATIONS[1:]),
)
def test_other_scans(
    place: tuple[int, int, int], axis: int, factor: float, orientation: np.ndarray
) -> None:
    scan = of(VALUES).scan
    changed = VALUES.astype(np.float32)
    changed[place] += 1e-3
    assert of(changed).scan != scan
    wider = PLACE.copy()
    wider[:3, axis] *= factor
    assert of(VALUES, wider).scan != scan
    # Turned, but still said to lie as before.
    assert of(turned(orientation)[0]).scan != scan


def test_a_mended_header_is_the_same_scan_and_another_case() -> None:
    first, moved = of(VALUES), PLACE.copy()
    moved[:3, 3] += (100, 0, -7)
    assert of(VALUES, moved).scan == first.scan and of(VALUES, moved).exact != first.exact
    nearly = PLACE.copy()
    nearly[0, 3] += 1e-9
    assert of(VALUES, nearly).exact != first.exact
    assert of(VALUES, oriented=False).exact != first.exact
    assert of(VALUES).exact == first.exact
    # An axis along which nothing runs: the scan of another shape is another one.
    assert of(VALUES.reshape(4, 6, 5)).scan != first.scan


def test_spacings_that_are_usual_are_not_where_rounding_matters() -> None:
    hundredths = (*range(5, 200), *range(205, 2001, 5))
    usual = [k / 100 for k in hundredths] + [256 / n for n in (192, 256, 320, 384, 448, 512)]
    for spacing in usual:
        digests = set()
        for rounded in (spacing, np.float32(spacing), np.nextafter(np.float32(spacing), 9)):
            digests.add(of(VALUES, np.diag([float(rounded), 1, 1, 1])).scan)
        assert len(digests) == 1, spacing


def test_values_are_compared_not_bits() -> None:
    zeros = np.where(VALUES > 60, VALUES, 0).astype(np.float32)
    negative = np.where(zeros == 0, np.float32(-0.0), zeros)
    assert np.signbit(negative).any() and of(negative).scan == of(zeros).scan
    # Whole numbers that float32 takes for one are two; those that it holds are the same in it.
    large = VALUES.astype(np.int32) + (1 << 24)
    large -= large % 2
    assert of(large).scan == of(large.astype(np.float32)).scan
    assert of(large + 1).scan != of(large).scan
    assert of(large.astype(np.int64) + 1).scan == of(large + 1).scan


def test_a_channel_is_known_in_a_file_of_its_own(tmp_path: Path) -> None:
    a, b = phantom(0)[0], phantom(1)[0]
    both = save(tmp_path / "both.nii.gz", nifti(np.stack([a, b], axis=-1), affine()))
    paths = [save(tmp_path / f"{n}.nii", nifti(x, affine())) for n, x in (("a", a), ("b", b))]
    found = volume_content(both)
    assert len(found.channels) == 2
    assert found.channels[0] == volume_content(paths[0]).channels[0]
    assert found.scan not in (volume_content(path).scan for path in paths)
    one, two = Case("one", (both,), None), Case("two", tuple(paths), None)
    assert images_digest(one) == images_digest(two)
    assert case_digest(one) != case_digest(two)
    swapped = replace(two, images=two.images[::-1])
    assert images_digest(swapped) != images_digest(two)


def test_a_constant_image_is_no_scan() -> None:
    assert of(np.full(SHAPE, 7, np.int16)).scan is None
    assert of(np.stack([np.zeros(SHAPE), VALUES], axis=-1)).scan is not None


def test_units_are_one_scan(tmp_path: Path) -> None:
    image, _ = phantom(3)
    mm = save(tmp_path / "mm.nii", nifti(image, affine((1, 0.5, 2))))
    other = nifti(image, affine((1000, 500, 2000)), units=MICRON)
    micron = save(tmp_path / "micron.nii", other)
    assert volume_content(mm).scan == volume_content(micron).scan


def test_a_digest_is_read_once(tmp_path: Path, reads: list[str], memory: Path) -> None:
    image, label = phantom(0)
    case = Case(
        "a",
        (save(tmp_path / "a.nii.gz", nifti(image, PLACE)),),
        save(tmp_path / "b.nii", nifti(label, PLACE)),
    )
    digests = case_digest(case), images_digest(case)
    assert sorted(reads) == ["a.nii.gz", "b.nii"]
    assert len(list(memory.iterdir())) == 2
    for file in memory.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600 and file.stat().st_size < 1500
    assert (case_digest(case), images_digest(case)) == digests and len(reads) == 2
    # Another label map: the image is still known.
    save(tmp_path / "b.nii", nifti(1 - label.clip(0, 1), PLACE))
    assert case_digest(case) != digests[0] and images_digest(case) == digests[1]
    assert reads[2:] == ["b.nii"]
    assert case_digest(replace(case, label=None)) != digests[0]


def test_the_digest_does_not_depend_on_the_type_or_the_compression(tmp_path: Path) -> None:
    image, _ = phantom(0)
    paths = [
        save(tmp_path / "a.nii", nifti(image, PLACE)),
        save(tmp_path / "b.nii.gz", nifti(image.astype("float64"), PLACE, descrip=b"b"), 1),
    ]
    a, b = (Case("x", (path,), None) for path in paths)
    assert case_digest(a) == case_digest(b)
    assert case_digest(a, "files") != case_digest(b, "files")
    # Data that earlier runs were trained on are known by the same digests as then.
    assert len(case_digest(a, "files")) == 64 and images_digest(a, "files") == case_digest(
        a, "files"
    )
    with pytest.raises(UserError, match="known_by is 'names'"):
        case_digest(a, "names")


Change = Callable[[Path], object]


def rewritten_in_its_place(path: Path) -> None:
    """The same size and time of the last write, other content."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    before = path.stat()
    copy = path.with_name("copy.nii")
    shutil.copy(path, copy)
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.replace(path)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("change", [rewritten_in_its_place, replaced, longer])
def test_a_changed_file_is_read_again(tmp_path: Path, reads: list[str], change: Change) -> None:
    path = save(tmp_path / "a.nii", nifti(phantom(0)[0], PLACE))
    volume_content(path)
    change(path)
    assert known_content(path) is None
    try:
        volume_content(path)
    except UserError:
        assert change is longer  # more bytes than a header accounts for
    assert len(reads) == 2


def test_both_files_of_a_pair_count(tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "a.hdr"
    nib.AnalyzeImage(VALUES.astype(np.int16), np.eye(4)).to_filename(path)
    volume_content(path)
    assert known_content(path.with_suffix(".img")) == known_content(path) is not None
    for ending in ("hdr", "img"):
        replaced(path.with_suffix(f".{ending}"))
        assert known_content(path) is None
        volume_content(path)
    path.with_suffix(".hdr").unlink()
    assert known_content(path) is None and len(reads) == 3


def emptied(data: bytes) -> bytes:
    return data[:0]


def cut(data: bytes) -> bytes:
    return data[:-20]


def another_digest(data: bytes) -> bytes:
    checksum, text = data.split(b"\n")
    values = json.loads(text)
    values["found"]["exact"] = "0" * 64
    return checksum + b"\n" + json.dumps(values).encode()


def with_checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def a_list(data: bytes) -> bytes:
    return with_checksum(b"[1, 2]")


def deeply_nested(data: bytes) -> bytes:
    return with_checksum(b"[" * 100_000)


def of_another_format(data: bytes) -> bytes:
    values = json.loads(data.split(b"\n")[1])
    return with_checksum(json.dumps(values | {"format": 0}).encode())


def with_other(**parts: Any) -> Callable[[bytes], bytes]:
    """Puts other values in the place of what was found."""

    def change(data: bytes) -> bytes:
        values = json.loads(data.split(b"\n")[1])
        return with_checksum(json.dumps(values | {"found": values["found"] | parts}).encode())

    return change


@pytest.mark.parametrize(
    "damage",
    [
        emptied,
        cut,
        another_digest,
        a_list,
        deeply_nested,
        of_another_format,
        *(with_other(channels=value) for value in (None, [], {}, [3], [{"scan": "a"}])),
        *(with_other(exact=value) for value in (None, 3, [])),
        *(with_other(notes=value) for value in (None, "note", [3])),
        with_other(oriented=None),
    ],
)
def test_a_damaged_record_is_made_anew(
    tmp_path: Path, reads: list[str], memory: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = save(tmp_path / "a.nii", nifti(phantom(0)[0], PLACE))
    found = volume_content(path)
    (record,) = memory.iterdir()
    whole = record.read_bytes()
    record.write_bytes(damage(whole))
    assert known_content(path) is None
    assert volume_content(path) == found and len(reads) == 2
    assert record.read_bytes() == whole


def test_every_flipped_bit_of_a_record_is_found(tmp_path: Path, memory: Path) -> None:
    path = save(tmp_path / "a.nii", nifti(phantom(0)[0], PLACE))
    found = volume_content(path)
    (record,) = memory.iterdir()
    whole = record.read_bytes()
    for place in np.random.default_rng(0).choice(len(whole) * 8, 300, replace=False):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << (place % 8)
        record.write_bytes(damaged)
        assert known_content(path) in (None, found)


def test_a_new_file_is_not_remembered(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change once more within the resolution of its time."""
    monkeypatch.setattr(file_times, "_SETTLED_NS", 2 * 10**9)
    path = save(tmp_path / "a.nii", nifti(phantom(0)[0], PLACE))
    os.utime(path, (0, 0))  # what the file says of its last write can be anything
    volume_content(path)
    assert known_content(path) is None
    volume_content(path)
    assert len(reads) == 2


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.nii", nifti(phantom(0)[0], PLACE))
    read = content.read_volume

    def read_and_replace(path: Path) -> Volume:
        volume = read(path)
        save(path, nifti(phantom(1)[0], PLACE))
        return volume

    monkeypatch.setattr(content, "read_volume", read_and_replace)
    first = volume_content(path)
    monkeypatch.undo()
    assert volume_content(path).scan != first.scan


def test_a_memory_that_cannot_be_written_costs_time_alone(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "file"))
    path = save(tmp_path / "a.nii", nifti(phantom(0)[0], PLACE))
    assert volume_content(path) == volume_content(path)
    assert len(reads) == 2


def test_what_cannot_be_read_names_the_case(tmp_path: Path) -> None:
    case = Case("a", (tmp_path / "none.nii",), None)
    for digest in (case_digest, images_digest):
        with pytest.raises(UserError, match="^case a: .*none.nii: no such file"):
            digest(case)
    assert file_states(tmp_path / "a.txt") is None
    assert known_content(tmp_path / ("x" * 5000 + ".nii")) is None


def test_real_scans_compressed_anew_and_turned(hippocampus: Path, tmp_path: Path) -> None:
    dataset = open_dataset("msd", hippocampus)
    for case in dataset.cases[:5]:
        (path,) = case.images
        image = nib.Nifti1Image.from_filename(path)
        orientation = np.array([[1, -1], [2, 1], [0, -1]])
        array, place = turned(orientation, image.get_fdata(), np.asarray(image.affine))
        copy = tmp_path / path.name
        nib.Nifti1Image(array.astype(np.float32), place).to_filename(copy)
        assert volume_content(copy).scan == volume_content(path).scan
        plain = tmp_path / path.stem
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        assert volume_content(plain) == volume_content(path)
        assert file_digest(plain) != file_digest(path)
