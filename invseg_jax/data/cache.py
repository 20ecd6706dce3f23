"""Preprocessed cases on disk, ready to be memory-mapped.

An entry is a folder named by the SHA-256 of everything it depends on: the bytes of the source
files, the preprocessing settings and this format's version. A changed file or setting is therefore
another entry, and a stale one is never found. Entries appear by a rename, whole or not at all, so
several processes may fill one cache.

    KEY/case.json           shape, affine, orientation, sizes of the files below
    KEY/image.npy           (D, H, W, C) float32, z-scored
    KEY/label.npy           (D, H, W) uint8, absent for a case without a label map
    KEY/foreground-K.npy    (m, 3) int32, voxels of class K, absent where there are none
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.data.nifti import source_files
from invseg_jax.data.preprocess import load_case
from invseg_jax.errors import UserError

FORMAT = 2
# Enough places to centre patches on, and the same few hundred kB whatever the size of the organ.
FOREGROUND_VOXELS = 10_000
_NORMALISATION = "z-score over non-zero voxels"
_PARTIAL = ".partial-"
_STALE_SECONDS = 24 * 3600


def cache_root() -> Path:
    """The folder for what can be made again: $INVSEG_CACHE, else the user's cache folder."""
    if root := os.environ.get("INVSEG_CACHE"):
        return Path(root)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "invseg_jax"


@dataclass(frozen=True)
class CachedCase:
    """A preprocessed case on disk.

    Arrays are mapped anew at each access, read-only: a case holds no open file and travels cheaply
    to another process.

    Attributes:
        id: the case's name.
        folder: its entry in the cache.
        shape: (D, H, W) in voxels.
        classes: number of classes, the background among them.
    """

    id: str
    folder: Path
    shape: tuple[int, int, int]
    classes: int

    @property
    def image(self) -> np.ndarray:
        """(D, H, W, C) float32, each channel z-scored."""
        return _map(self.folder / "image.npy")

    @property
    def label(self) -> np.ndarray | None:
        """(D, H, W) uint8 class indices, None for a case without a label map."""
        path = self.folder / "label.npy"
        return _map(path) if path.exists() else None

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) float64, voxel indices to mm."""
        return np.array(self._description()["affine"], np.float64)

    @property
    def oriented(self) -> bool:
        """Whether the file says which side is left; Analyze files do not."""
        return bool(self._description()["oriented"])

    def _description(self) -> dict[str, Any]:
        return json.loads((self.folder / "case.json").read_text())

    def foreground(self, index: int) -> np.ndarray:
        """Voxels of class `index`: (m, 3) int32 along D, H, W; m is 0 where there are none.

        Up to `FOREGROUND_VOXELS` of them, drawn at random without replacement, in rising order.

        Raises:
            IndexError: `index` is not from 1 to classes - 1.
        """
        if not 1 <= index < self.classes:
            raise IndexError(f"foreground classes are 1 to {self.classes - 1}, not {index}")
        path = self.folder / f"foreground-{index}.npy"
        return _map(path) if path.exists() else np.empty((0, 3), np.int32)


def cached_cases(
    dataset: Dataset,
    cases: Sequence[Case],
    folder: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[CachedCase]:
    """Preprocesses the cases that are not in the cache yet.

    Args:
        dataset: what the cases belong to.
        cases: some or all of its cases.
        folder: where the entries are kept; `cache_root() / "cases"` if None.
        progress: is told in one line of each case that has to be made.

    Returns:
        The cases in the order given.

    Raises:
        UserError: a case is faulty (see `load_case`), or the cache cannot be written, as when the
            disk is full.
    """
    folder = cache_root() / "cases" if folder is None else Path(folder)
    _sweep(folder)
    result = []
    for number, case in enumerate(cases, 1):
        key = _key(dataset, case)
        entry = _open_entry(folder / key, case, dataset)
        if entry is None:
            if progress is not None:
                progress(f"preparing case {case.id} ({number} of {len(cases)})")
            entry = _make_entry(folder / key, case, dataset)
        result.append(entry)
    return result


def _key(dataset: Dataset, case: Case) -> str:
    settings = {
        "format": FORMAT,
        "normalisation": _NORMALISATION,
        "foreground voxels": FOREGROUND_VOXELS,
        "modalities": len(dataset.modalities),
        "values": dataset.values,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for role, path in [*(("image", path) for path in case.images), ("label", case.label)]:
        for file in () if path is None else _sources(case, path):
            try:
                with open(file, "rb") as stream:
                    content = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise UserError(
                    f"case {case.id}: {file}: cannot be read ({error.strerror or error}"
                    "); check the file and its permissions"
                ) from error
            digest.update(f"\n{role} {content}".encode())
    return digest.hexdigest()


def _sources(case: Case, path: Path) -> tuple[Path, ...]:
    try:
        return source_files(path)
    except UserError as error:
        raise UserError(f"case {case.id}: {error}") from error


def _open_entry(path: Path, case: Case, dataset: Dataset) -> CachedCase | None:
    """The entry at `path` if it is there and whole.

    Renaming makes entries appear whole; a power cut or a careless hand may still cut them short.
    """
    try:
        description = json.loads((path / "case.json").read_text())
        whole = all(
            (path / name).stat().st_size == size for name, size in description["files"].items()
        )
        d, h, w = description["shape"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return CachedCase(case.id, path, (d, h, w), len(dataset.classes)) if whole else None


def _make_entry(path: Path, case: Case, dataset: Dataset) -> CachedCase:
    loaded = load_case(dataset, case)
    arrays = {"image.npy": loaded.image}
    if loaded.label is not None:
        arrays["label.npy"] = loaded.label
        # Seeded by the key, so that a cache made again is the same to the bit.
        rng = np.random.default_rng(int(path.name, 16))
        for index in range(1, len(dataset.classes)):
            voxels = _foreground(loaded.label, index, rng)
            if len(voxels):  # an empty array cannot be mapped
                arrays[f"foreground-{index}.npy"] = voxels
    temporary = path.with_name(f"{_PARTIAL}{path.name[:16]}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        sizes = {name: _save(temporary / name, array) for name, array in arrays.items()}
        description: dict[str, Any] = {
            "shape": loaded.image.shape[:3],
            "affine": loaded.affine.tolist(),
            "oriented": loaded.oriented,
            "files": sizes,
        }
        (temporary / "case.json").write_text(json.dumps(description))
        _publish(temporary, path, case, dataset)
    except OSError as error:
        needed = sum(array.nbytes for array in arrays.values()) / 2**20
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fault = f"the disk is full (the case takes {needed:.0f} MiB)"
        else:
            fault = f"cannot be written ({error.strerror or error})"
        raise UserError(
            f"{path.parent}: {fault} while preparing case {case.id}; make room, or set "
            "INVSEG_CACHE to another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    entry = _open_entry(path, case, dataset)
    if entry is None:
        raise UserError(f"{path}: a damaged cache entry that cannot be replaced; delete it")
    return entry


def _publish(temporary: Path, path: Path, case: Case, dataset: Dataset) -> None:
    """Renames a finished entry into its place; another process may have been there first."""
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        if _open_entry(path, case, dataset) is not None:
            return  # the same, made elsewhere in the meantime; others may be reading it
        aside = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
        os.rename(path, aside)
        try:
            os.rename(temporary, path)
        finally:
            _delete(aside)


def _foreground(label: np.ndarray, index: int, rng: np.random.Generator) -> np.ndarray:
    flat = np.flatnonzero(label == index)
    if flat.size > FOREGROUND_VOXELS:
        flat = np.sort(rng.choice(flat, FOREGROUND_VOXELS, replace=False))
    return np.stack(np.unravel_index(flat, label.shape), axis=-1).astype(np.int32)


def _save(path: Path, array: np.ndarray) -> int:
    """Writes a `.npy` file and returns its size in bytes.

    Not `np.save`: it hides the error number when a disk fills up.
    """
    array = np.ascontiguousarray(array)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.reshape(-1).view(np.uint8).data)
        return file.tell()


def _map(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Deletes what killed processes left behind, once it is a day old."""
    for path in folder.glob(f"{_PARTIAL}*"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                _delete(path)
        except OSError:
            continue  # another process was faster
