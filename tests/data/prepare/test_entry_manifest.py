"""What an entry says of its files, and of itself."""

import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invseg_jax.data.prepare.cache_entry import (
    describe,
    entry_fault,
    is_sound,
    map_array,
    read_entry,
    write_entry,
)
from invseg_jax.data.prepare.entry_manifest import DamagedEntry, read_manifest
from invseg_jax.files.json_values import json_checksum

DESCRIPTION = {"content": "abc", "geometry": {"step": (0.1, 1e-7), "size": [3, 4]}}


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    path = tmp_path / "entry"
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    write_entry(path, DESCRIPTION, {"image": array, "turned": array.T}, "a test")
    return path


def test_sizes_and_checksums_are_those_of_the_files(entry: Path) -> None:
    content = json.loads((entry / "entry.json").read_text())
    assert content["files"] == {
        name: [(entry / name).stat().st_size, zlib.crc32((entry / name).read_bytes())]
        for name in ("image.npy", "turned.npy")
    }
    for name in ("image", "turned"):  # NumPy reads what it did not write
        assert np.load(entry / f"{name}.npy").shape in ((3, 4, 5), (5, 4, 3))
    assert read_manifest(entry)["description"] == json.loads(json.dumps(DESCRIPTION))


def test_every_flipped_bit_of_a_description_is_found_or_harmless(entry: Path) -> None:
    path, before = entry / "entry.json", (entry / "entry.json").read_bytes()
    expected, harmless = describe(entry), 0
    for bit in range(8 * len(before)):
        content = bytearray(before)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        found = read_entry(entry)
        assert found is None or found == expected
        harmless += found is not None
    assert harmless < len(before) // 10  # blanks that became other blanks


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"{}", b'{"checksum": 0}', b"[" * 100_000, b"\xff", b"12"],
    ids=["empty", "null", "list", "object", "checksum", "deep", "binary", "number"],
)
def test_what_is_no_description_is_damage(entry: Path, content: bytes) -> None:
    (entry / "entry.json").write_bytes(content)
    with pytest.raises(DamagedEntry, match="entry.json is not as it was written"):
        describe(entry)
    assert str(entry / "entry.json") in str(entry_fault(entry))
    assert read_entry(entry) is None


def signed(content: dict[str, Any]) -> str:
    return json.dumps(content | {"checksum": json_checksum(content)})


@pytest.mark.parametrize(
    "change",
    [
        *(
            {name: value}
            for name in ("key", "files", "description")
            for value in (None, 3, [], "x")
        ),
        *({"files": {"image.npy": value}} for value in (None, 3, [1], ["a", "b"], [1, 2, 3])),
    ],
)
def test_other_parts_are_damage_also_where_the_checksum_fits(
    entry: Path, change: dict[str, Any]
) -> None:
    content = json.loads((entry / "entry.json").read_text())
    del content["checksum"]
    (entry / "entry.json").write_text(signed(content))
    assert describe(entry) == json.loads(json.dumps(DESCRIPTION))
    (entry / "entry.json").write_text(signed(content | change))
    assert read_entry(entry) is None


def test_an_entry_under_the_key_of_another_is_damage(entry: Path) -> None:
    assert read_entry(entry) is not None
    assert read_entry(entry.rename(entry.with_name("other"))) is None


def array_file(shape: tuple[int, ...], values: np.ndarray) -> bytes:
    file = io.BytesIO()
    header = {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + values.tobytes()


def objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    return file.getvalue()


NUMBERS = np.arange(12, dtype=np.float32)


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"garbage",
        objects(),
        array_file((10**6, 10**6), NUMBERS),
        array_file((10**30,), NUMBERS),
        array_file((3, 5), NUMBERS),
        array_file((-1, 3), NUMBERS),
        b"\x93NUMPY\x01\x00v\x00" + b"open('x', 'w')".ljust(117) + b"\n",
    ],
    ids=["empty", "garbage", "objects", "huge", "beyond", "longer", "negative", "code"],
)
def test_an_array_file_that_is_none_is_damage_also_where_its_checksum_fits(
    entry: Path, forged: bytes
) -> None:
    content = json.loads((entry / "entry.json").read_text())
    del content["checksum"]
    for file, sound in ((array_file((3, 4), NUMBERS), True), (forged, False)):
        (entry / "image.npy").write_bytes(file)
        content["files"]["image.npy"] = [len(file), zlib.crc32(file)]
        (entry / "entry.json").write_text(signed(content))
        assert is_sound(entry) is sound
        if sound:
            found = map_array(entry, "image")
            assert found is not None
            np.testing.assert_array_equal(found, NUMBERS.reshape(3, 4))
            continue
        with pytest.raises(DamagedEntry, match="image.npy is no array of this cache"):
            map_array(entry, "image")


def test_entries_of_earlier_versions_have_no_checksums(entry: Path) -> None:
    sizes = {"image.npy": (entry / "image.npy").stat().st_size}
    (entry / "entry.json").write_text(json.dumps({"files": sizes, "description": DESCRIPTION}))
    assert read_entry(entry) is None
