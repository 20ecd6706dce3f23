"""A prepared case that the disk has damaged is made anew, the same to the bit."""

from __future__ import annotations

import itertools
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from invseg_jax.data.batches.pipeline import training_batches
from invseg_jax.data.layouts import Dataset, open_dataset
from invseg_jax.data.prepare import cache, entry_manifest
from invseg_jax.data.prepare.cache import CachedCase, CaseCache
from invseg_jax.data.prepare.entry_manifest import DamagedEntry
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings
from invseg_jax.files import file_times

Write = Callable[..., Path]
FILES = ("entry.json", "image.npy", "label.npy", "foreground-1.npy", "foreground-2.npy")


@pytest.fixture
def dataset(write_msd: Write) -> Dataset:
    return open_dataset("msd", write_msd())


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def case(dataset: Dataset, tmp_path: Path, lines: list[str]) -> CachedCase:
    """The first of the data set's cases; what is said after its preparation goes to `lines`."""
    made = CaseCache(dataset, None, tmp_path / "cache", lines.append).prepared(dataset.cases)
    lines.clear()
    return made[0]


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def contents(case: CachedCase) -> list[np.ndarray]:
    assert case.label is not None
    arrays = (case.image, case.label, *(case.foreground(index) for index in (1, 2)))
    return [np.array(array) for array in arrays]


@pytest.mark.parametrize("name", FILES)
def test_each_flipped_bit_is_found_and_made_anew(
    case: CachedCase, name: str, lines: list[str]
) -> None:
    before = contents(case)
    files = {file.name: file.read_bytes() for file in case.folder.iterdir()}
    assert sorted(files) == sorted(FILES)
    bits = 8 * len(files[name])
    # The first byte, the header of an array, its last byte and places in between.
    for bit in {0, 7, 83, bits // 3, bits // 2, bits - 1}:
        lines.clear()
        flip(case.folder / name, bit)
        for found, expected in zip(contents(case), before, strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        if (case.folder / name).read_bytes() == files[name]:
            assert len(lines) == 1
            assert lines[0].startswith(f"cache entry of case organ_2: {case.folder / name} ")
            assert lines[0].endswith("it is made anew") and "\n" not in lines[0]
        else:
            # JSON says the same with another blank; only there may a changed byte stay.
            assert name == "entry.json" and lines == []
    assert {file.name: file.read_bytes() for file in case.folder.iterdir()}.keys() == files.keys()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "longer"])
def test_files_of_another_size_are_made_anew(
    case: CachedCase, name: str, damage: str, lines: list[str]
) -> None:
    before, path = contents(case), case.folder / name
    if damage == "gone":
        path.unlink()
    else:
        old = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": old[:-3], "longer": old + b"abc"}[damage])
    for found, expected in zip(contents(case), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(lines) == 1 and str(path) in lines[0]


def test_an_entry_that_is_gone_altogether_is_made_anew(case: CachedCase, lines: list[str]) -> None:
    before, geometry, content = contents(case), case.geometry, case.content
    for file in case.folder.iterdir():
        file.unlink()
    case.folder.rmdir()
    assert (case.geometry, case.content, case.labelled) == (geometry, content, True)
    for found, expected in zip(contents(case), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(lines) == 1


def test_who_has_mapped_a_deleted_entry_keeps_it(case: CachedCase) -> None:
    held = case.image
    seen = np.array(held)
    flip(case.folder / "label.npy", 900)
    assert case.label is not None
    np.testing.assert_array_equal(held, seen)
    np.testing.assert_array_equal(case.image, seen)


def test_a_file_is_read_through_once_a_process(
    case: CachedCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_times, "_SETTLED_NS", -1)  # as if written long ago
    read: list[int] = []
    checksum = entry_manifest.zlib.crc32

    def counted(data: bytes, value: int = 0) -> int:
        read.append(len(data))
        return checksum(data, value)

    monkeypatch.setattr(entry_manifest.zlib, "crc32", counted)
    size = (case.folder / "image.npy").stat().st_size
    for _ in range(3):
        assert case.image.size
    assert read.count(size) == 1
    flip(case.folder / "image.npy", 5000)
    assert case.image.size
    assert read.count(size) >= 3  # the damaged one and the new one


def test_a_file_just_written_is_not_remembered(case: CachedCase, lines: list[str]) -> None:
    # Two changes within a tick of the clock may leave the file's time as it was.
    path, image = case.folder / "image.npy", np.array(case.image)
    for bit in range(4000, 4020):
        flip(path, bit)
        np.testing.assert_array_equal(case.image, image)
    assert len(lines) == 20


def test_all_threads_that_find_the_damage_go_on(
    case: CachedCase, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(case)
    for name in ("image.npy", "label.npy"):
        flip(case.folder / name, 2000)
    load = cache.load_case

    def slowly(*arguments: object) -> object:
        time.sleep(0.2)
        return load(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(cache, "load_case", slowly)
    barrier, found = threading.Barrier(6), []

    def read() -> None:
        barrier.wait()
        found.append(contents(case))

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and len(lines) == 1
    for arrays in found:
        for array, expected in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("threads", [0, 2])
def test_batches_after_damage_are_those_of_an_undamaged_cache(
    dataset: Dataset, case: CachedCase, tmp_path: Path, threads: int
) -> None:
    lines: list[str] = []
    cases = CaseCache(dataset, None, tmp_path / "cache", lines.append).prepared(dataset.cases)
    settings = DataSettings(patch=(4, 5, 3), batch=2, foreground=0.5)
    expected = list(itertools.islice(training_batches(cases, settings, seed=7), 12))
    batches = training_batches(cases, replace(settings, threads=threads), seed=7)
    found = list(itertools.islice(batches, 3))
    for entry in cases:
        flip(entry.folder / "image.npy", 3001)
        flip(entry.folder / "label.npy", 1500)
    found += itertools.islice(batches, 9)
    batches.close()
    for one, other in zip(found, expected, strict=True):
        for name in ("image", "label"):
            np.testing.assert_array_equal(one[name], other[name])
    assert sorted(line.split(":")[0] for line in lines) == [
        "cache entry of case organ_10",
        "cache entry of case organ_2",
    ]


def test_without_its_source_it_is_one_line(
    dataset: Dataset, case: CachedCase, lines: list[str]
) -> None:
    flip(case.folder / "image.npy", 2000)
    dataset.cases[0].images[0].unlink()
    with pytest.raises(
        UserError, match="image.npy is not as it was .* cannot be made anew: case o"
    ):
        case.image  # noqa: B018
    assert lines == []


def test_a_source_that_was_changed_since_is_not_taken_for_it(
    dataset: Dataset, case: CachedCase
) -> None:
    flip(case.folder / "image.npy", 2000)
    first, second = (one.images[0] for one in dataset.cases)
    first.write_bytes(second.read_bytes())
    with pytest.raises(UserError, match="files were changed since this training began"):
        case.image  # noqa: B018


def test_in_another_process_damage_is_an_error(case: CachedCase) -> None:
    sent = pickle.loads(pickle.dumps(case))
    assert sent == case and sent.remake is None
    np.testing.assert_array_equal(sent.image, case.image)
    flip(case.folder / "image.npy", 2000)
    with pytest.raises(DamagedEntry, match="image.npy is not as it was written"):
        sent.image  # noqa: B018


def test_a_disk_that_damages_it_each_time_ends_in_one_line(case: CachedCase) -> None:
    def in_vain(fault: DamagedEntry) -> None:
        assert "image.npy" in str(fault)

    flip(case.folder / "image.npy", 2000)
    hopeless = CachedCase(case.id, case.folder, case.shape, case.classes, in_vain)
    with pytest.raises(UserError, match="case organ_2: .*also after it was made anew"):
        hopeless.image  # noqa: B018


def test_a_damaged_measurement_is_made_anew(dataset: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    store = CaseCache(dataset, None, tmp_path, lines.append)
    before = store.fingerprint(dataset.cases)
    lines.clear()
    samples = sorted(tmp_path.glob("measurements/*/sample.npy"))
    assert len(samples) == 2
    for sample in samples:
        flip(sample, 8 * 150)
    assert store.fingerprint(dataset.cases) == before
    assert len(lines) == 2 and all("sample.npy is not as it was written" in line for line in lines)
    lines.clear()
    assert store.fingerprint(dataset.cases) == before and lines == []


def test_damage_that_the_start_finds_is_said(dataset: Dataset, tmp_path: Path) -> None:
    first = CaseCache(dataset, None, tmp_path).prepared(dataset.cases)[0]
    (first.folder / "label.npy").write_bytes(b"cut")
    warned: list[str] = []
    store = CaseCache(dataset, None, tmp_path, warn=warned.append)
    assert store.prepared(dataset.cases)[0] == first
    assert len(warned) == 1
    assert "label.npy holds 3 bytes, not the" in warned[0] and warned[0].endswith("made anew")
