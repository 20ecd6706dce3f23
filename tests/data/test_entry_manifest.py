"""What an entry says of its files, and of itself."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from invseg_jax.data.cache_entry import describe, entry_fault, read_entry, write_entry
from invseg_jax.data.entry_manifest import DamagedEntry, read_manifest

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


def test_entries_of_earlier_versions_have_no_checksums(entry: Path) -> None:
    sizes = {"image.npy": (entry / "image.npy").stat().st_size}
    (entry / "entry.json").write_text(json.dumps({"files": sizes, "description": DESCRIPTION}))
    assert read_entry(entry) is None
