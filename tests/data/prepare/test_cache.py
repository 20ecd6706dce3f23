"""The cache gives back what preprocessing made, and never a stale or half-written entry."""

from __future__ import annotations

import dataclasses
import errno
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.data.layouts import Case, Dataset, open_dataset
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.prepare import cache, cache_entry, shortage
from invseg_jax.data.prepare.cache import CachedCase, CaseCache, cache_root
from invseg_jax.data.prepare.content import case_digest
from invseg_jax.data.prepare.loaded_case import load_case
from invseg_jax.data.prepare.preprocess import prepare
from invseg_jax.errors import UserError
from invseg_jax.experiment import Preprocessing

Write = Callable[..., Path]


@pytest.fixture
def dataset(write_msd: Write) -> Dataset:
    return open_dataset("msd", write_msd())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fill(
    dataset: Dataset, folder: Path, settings: Preprocessing | None = None
) -> tuple[list[CachedCase], list[str]]:
    """The entries, and what was said of those that had to be made."""
    lines: list[str] = []
    return CaseCache(dataset, settings, folder, lines.append).prepared(dataset.cases), lines


def test_entries_hold_what_preprocessing_made(dataset: Dataset, folder: Path) -> None:
    entries, lines = fill(dataset, folder)
    assert lines == ["preparing case organ_2 (1 of 2)", "preparing case organ_10 (2 of 2)"]
    for case, entry in zip(dataset.cases, entries, strict=True):
        loaded = prepare(load_case(dataset, case), Preprocessing())
        assert (entry.id, entry.shape, entry.classes) == (case.id, (7, 6, 5), 3)
        assert isinstance(entry.image, np.memmap) and not entry.image.flags.writeable
        np.testing.assert_array_equal(entry.image, loaded.image)
        assert entry.label is not None and loaded.label is not None
        assert entry.image.dtype == np.float32 and entry.label.dtype == np.uint8
        np.testing.assert_array_equal(entry.label, loaded.label)
        assert entry.geometry == loaded.geometry and entry.content == case_digest(case)
        for index in (1, 2):
            np.testing.assert_array_equal(
                entry.foreground(index), np.argwhere(loaded.label == index)
            )
            assert entry.foreground(index).dtype == np.int32
        for index in (0, 3, -1):
            with pytest.raises(IndexError):
                entry.foreground(index)
    again, lines = fill(dataset, folder)
    assert again == entries and lines == []


def test_an_entry_travels_to_another_process(dataset: Dataset, folder: Path) -> None:
    entry = fill(dataset, folder)[0][0]
    assert entry.image.size
    assert len(pickle.dumps(entry)) < 1000


def test_foreground_is_capped_and_reproducible(
    dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "FOREGROUND_VOXELS", 20)
    entry = fill(dataset, folder)[0][0]
    other = fill(dataset, folder.with_name("other"))[0][0]
    for index in (1, 2):
        voxels = entry.foreground(index)
        assert voxels.shape == (20, 3) and len(np.unique(voxels, axis=0)) == 20
        assert entry.label is not None
        assert (entry.label[tuple(voxels.T)] == index).all()
        np.testing.assert_array_equal(voxels, other.foreground(index))
        everything = np.argwhere(entry.label == index)
        assert not np.array_equal(voxels, everything[:20])


def test_cases_without_a_label_and_absent_classes(write_iseg: Write, folder: Path) -> None:
    dataset = open_dataset("iseg", write_iseg(labelled=(1,), unlabelled=(2,)))
    root = dataset.root
    (root / "subject-1-label.img").write_bytes(bytes((root / "subject-1-label.img").stat().st_size))
    labelled, unlabelled = fill(dataset, folder)[0]
    assert labelled.label is not None and not labelled.label.any()
    assert unlabelled.label is None
    for entry in (labelled, unlabelled):
        for index in (1, 2, 3):
            assert entry.foreground(index).shape == (0, 3)


def test_a_change_of_source_or_settings_is_another_entry(
    dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fill(dataset, folder)[0]
    source, label = dataset.cases[1].images[0], dataset.cases[0].label
    assert label is not None
    source.write_bytes(dataset.cases[0].images[0].read_bytes())
    second, lines = fill(dataset, folder)
    assert lines == ["preparing case organ_10 (2 of 2)"]
    assert second[0] == first[0] and second[1].folder != first[1].folder

    wider = dataclasses.replace(dataset, classes=(*dataset.classes, "more"), values=(0, 1, 2, 9))
    assert len(fill(wider, folder)[1]) == 2
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert len(fill(dataset, folder)[1]) == 2
    unlabelled = dataclasses.replace(dataset.cases[0], label=None)
    lines: list[str] = []
    (entry,) = CaseCache(dataset, None, folder, lines.append).prepared([unlabelled])
    assert entry.label is None
    assert len(lines) == 1
    # The same files in other roles: two modalities, or one and a label map.
    image, label = dataset.cases[0].images[0], dataset.cases[0].label
    assert label is not None
    two = Case("two", (image, label), None)
    assert case_digest(two) != case_digest(dataset.cases[0])


def test_a_file_compressed_anew_is_the_same_entry(dataset: Dataset, folder: Path) -> None:
    """The voxels and the place count, not how they are stored."""
    first = fill(dataset, folder)[0]
    path = dataset.cases[0].images[0]
    image = nib.Nifti1Image.from_filename(path)
    array, place = image.get_fdata(), np.asarray(image.affine)
    nib.Nifti1Image(array.astype(np.float32), place).to_filename(path)
    assert fill(dataset, folder) == (first, [])
    # Along other axes the prepared arrays may be the same, the way back to the file is not.
    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = array.shape[0] - 1
    nib.Nifti1Image(array[::-1], place @ mirror).to_filename(path)
    assert len(fill(dataset, folder)[1]) == 1
    nib.Nifti1Image(array, place).to_filename(path)
    assert fill(dataset, folder) == (first, [])
    moved = place.copy()
    moved[:3, 3] += 1e-3
    nib.Nifti1Image(array, moved).to_filename(path)
    assert len(fill(dataset, folder)[1]) == 1


def test_only_settings_that_change_a_case_make_another_entry(
    write_msd: Write, folder: Path
) -> None:
    dataset = open_dataset("msd", write_msd(ids=("organ_1",)))
    seen: dict[Path, Preprocessing] = {}
    for settings in (
        Preprocessing(),
        Preprocessing(canonical=False),
        Preprocessing(spacing=(2, 2, 1)),
        Preprocessing(spacing=(2, 2, 1), interpolation="cubic"),
        Preprocessing(spacing=(2, 2, 1), labels="nearest"),
        Preprocessing(crop=True),
        Preprocessing(crop=True, margin=1),
        Preprocessing(normalisation=("z_score",)),
    ):
        (entry,), lines = fill(dataset, folder, settings)
        assert len(lines) == 1 and entry.folder not in seen
        seen[entry.folder] = settings
        prepared = prepare(load_case(dataset, dataset.cases[0]), settings)
        np.testing.assert_array_equal(entry.image, prepared.image)
        assert entry.geometry == prepared.geometry and entry.shape == prepared.geometry.size
    for path, settings in seen.items():
        assert fill(dataset, folder, settings) == (
            [CachedCase("organ_1", path, path_shape(path), 3)],
            [],
        )
    assert fill(dataset, folder, Preprocessing(margin=4, labels="nearest"))[1] == []
    # How the files are read counts too.
    for changes in ({"ignore": 9}, {"reference": 0}):
        assert len(fill(dataclasses.replace(dataset, **changes), folder)[1]) == 1
    on_a_grid = dataclasses.replace(dataset, reference=0)
    assert len(fill(on_a_grid, folder, Preprocessing(interpolation="cubic"))[1]) == 1
    # One content, however it is prepared.
    assert len({CachedCase("", path, (1, 1, 1), 3).content for path in seen}) == 1


def path_shape(path: Path) -> tuple[int, int, int]:
    d, h, w, _ = np.load(path / "image.npy").shape
    return d, h, w


def test_both_files_of_an_analyze_pair_count(write_iseg: Write, folder: Path) -> None:
    dataset = open_dataset("iseg", write_iseg(labelled=(1,)))
    fill(dataset, folder)
    # In the header a bit of the spacing, and one of a voxel.
    for ending, place in (("hdr", 82), ("img", 200)):
        path = dataset.root / f"subject-1-T2.{ending}"
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        assert len(fill(dataset, folder)[1]) == 1
    assert fill(dataset, folder)[1] == []


@pytest.mark.parametrize("name", ["entry.json", "image.npy", "label.npy", "foreground-1.npy"])
@pytest.mark.parametrize("damage", ["short", "gone"])
def test_damaged_entries_are_made_again(
    dataset: Dataset, folder: Path, name: str, damage: str
) -> None:
    entry = fill(dataset, folder)[0][0]
    image = np.array(entry.image)
    path = entry.folder / name
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    again, lines = fill(dataset, folder)
    assert lines == ["preparing case organ_2 (1 of 2)"]
    np.testing.assert_array_equal(again[0].image, image)
    assert sorted(folder.glob("cases/*")) == sorted(e.folder for e in again)


def test_a_file_in_the_place_of_an_entry(dataset: Dataset, folder: Path) -> None:
    path = fill(dataset, folder)[0][0].folder
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    path.write_text("in the way")
    assert fill(dataset, folder)[0][0].image.any()


def test_another_process_may_be_first(
    dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = fill(dataset, folder)[0]
    inodes = [(entry.folder / "image.npy").stat().st_ino for entry in finished]
    looked: list[Path] = []

    def first_look_finds_nothing(path: Path) -> dict | None:
        looked.append(path)
        return None if looked.count(path) == 1 else look(path)

    look = cache_entry.read_entry
    for module in (cache, cache_entry):
        monkeypatch.setattr(module, "read_entry", first_look_finds_nothing)
    entries, lines = fill(dataset, folder)
    assert len(lines) == 2 and entries == finished
    # The entry that others may be reading is left as it is.
    assert [(entry.folder / "image.npy").stat().st_ino for entry in entries] == inodes
    assert len(list(folder.glob("cases/*"))) == 2


def test_what_was_interrupted_is_not_used(
    dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_entry, "_publish", killed)
    with pytest.raises(KeyboardInterrupt):
        fill(dataset, folder)
    assert list(folder.glob("*/*")) == []
    monkeypatch.undo()
    old, new = folder / "cases" / ".partial-old", folder / "cases" / ".partial-new"
    for leftover in (old, new):
        leftover.mkdir()
        (leftover / "image.npy").write_bytes(b"half")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    assert len(fill(dataset, folder)[1]) == 2
    assert not old.exists() and new.exists()  # the new one may be another process at work


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_writing_to_a_full_disk_has_an_error_number() -> None:
    with pytest.raises(OSError) as caught:
        cache_entry._save(Path("/dev/full"), np.zeros(100_000))
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(
    ("number", "match"),
    [
        (errno.ENOSPC, r"the disk is full .* case organ_2; make room, or set INVSEG_CACHE"),
        (errno.EROFS, "cannot be written .Read-only file system. while preparing case organ_2"),
    ],
)
def test_a_full_disk_is_said_plainly(
    dataset: Dataset, folder: Path, number: int, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = cache_entry._save

    def full(path: Path, array: np.ndarray) -> tuple[int, int]:
        if path.name == "label.npy":
            raise OSError(number, os.strerror(number))
        return save(path, array)

    monkeypatch.setattr(cache_entry, "_save", full)
    with pytest.raises(UserError, match=match) as caught:
        fill(dataset, folder)
    assert str(folder) in str(caught.value)
    assert list(folder.glob("*/*")) == []


def test_sources_that_vanish_and_a_cache_that_is_a_file(
    dataset: Dataset, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken/cases: cannot be written"):
        fill(dataset, tmp_path / "taken")
    dataset.cases[0].images[0].unlink()
    with pytest.raises(UserError, match="case organ_2: .*no such file"):
        fill(dataset, folder)


def test_cache_root(monkeypatch: pytest.MonkeyPatch, dataset: Dataset, tmp_path: Path) -> None:
    monkeypatch.delenv("INVSEG_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root() == Path("/home/someone/.cache/invseg_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", "/big")
    assert cache_root() == Path("/big/invseg_jax")
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "here"))
    assert cache_root() == tmp_path / "here"
    entry = CaseCache(dataset).prepared(dataset.cases)[0]
    assert entry.folder.parent == tmp_path / "here" / "cases"


def test_the_real_hippocampus_data(hippocampus: Path, folder: Path) -> None:
    dataset = open_dataset("msd", hippocampus)
    entries, lines = fill(dataset, folder)
    assert len(entries) == len(lines) == 208
    assert fill(dataset, folder)[1] == []
    for entry in entries:
        assert len(entry.foreground(1)) and len(entry.foreground(2))
        assert entry.image.shape == (*entry.shape, 1)


def test_slices_that_a_coarse_grid_passes_by_are_named(dataset: Dataset, folder: Path) -> None:
    settings = Preprocessing(spacing=(6.0, 1.0, 0.5), labels="nearest")
    # Of 7 planes the middle one is annotated; two of the others are looked at.
    with pytest.raises(UserError, match=r"case organ_2: no voxel .* annotated .* finer config"):
        CaseCache(dataset, settings, folder, slices=(1, 0, 0)).prepared(dataset.cases)
    assert not (folder / "cases").exists()
    kept = dataclasses.replace(settings, labels="linear")
    (case, _) = CaseCache(dataset, kept, folder, slices=(1, 0, 0)).prepared(dataset.cases)
    assert case.label is not None and (case.label != IGNORED).any()


def test_a_case_that_memory_does_not_hold_is_not_prepared(
    write_msd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = open_dataset("msd", write_msd(ids=("organ_1",)))
    monkeypatch.setattr(shortage, "_LITTLE", 0)
    monkeypatch.setattr(shortage, "available", lambda: 1 << 20)
    for use in (CaseCache.prepared, CaseCache.fingerprint):
        with pytest.raises(UserError, match="case organ_1: would take .* are free"):
            use(CaseCache(dataset, folder=tmp_path / "cache"), dataset.cases)
    monkeypatch.setattr(shortage, "available", lambda: None)
    monkeypatch.setattr(CaseCache, "_load", lambda *_: np.empty(1 << 48, np.uint8))
    for use in (CaseCache.prepared, CaseCache.fingerprint):
        with pytest.raises(UserError, match="case organ_1: memory ran out"):
            use(CaseCache(dataset, folder=tmp_path / "cache"), dataset.cases)
