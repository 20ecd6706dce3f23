"""Arrays on disk under a key, ready to be memory-mapped; whole or not there at all.

An entry is a folder of `.npy` files and an `entry.json` with the sizes of these and a description.
It appears by a rename, so several processes may make the same one, and what a killed process or a
full disk leaves behind is never taken for an entry.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from invseg_jax.errors import UserError

_DESCRIPTION = "entry.json"
_PARTIAL = ".partial-"
_STALE_SECONDS = 24 * 3600


def read_entry(path: Path) -> dict[str, Any] | None:
    """What is said of the entry at `path` if it is there and whole, else None.

    Renaming makes entries appear whole; a power cut or a careless hand may still cut them short.
    """
    try:
        content = json.loads((path / _DESCRIPTION).read_text())
        files, description = content["files"], content["description"]
        whole = all((path / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return description if whole and isinstance(description, dict) else None


def describe(path: Path) -> dict[str, Any]:
    """What is said of an entry that was found whole."""
    return json.loads((path / _DESCRIPTION).read_text())["description"]


def write_entry(
    path: Path, description: Mapping[str, Any], arrays: Mapping[str, np.ndarray], what: str
) -> None:
    """Writes an entry, unless another process has it there first.

    Args:
        path: the entry's folder; the one that holds it is made if it is missing.
        description: what JSON can hold.
        arrays: by name, without an ending; none of them empty.
        what: is written, for a message such as "while preparing case 7".

    Raises:
        UserError: it cannot be written, as when the disk is full.
    """
    temporary = path.with_name(f"{_PARTIAL}{path.name[:16]}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        sizes = {f"{n}.npy": _save(temporary / f"{n}.npy", array) for n, array in arrays.items()}
        content = {"files": sizes, "description": description}
        (temporary / _DESCRIPTION).write_text(json.dumps(content))
        _publish(temporary, path)
    except OSError as error:
        needed = sum(array.nbytes for array in arrays.values()) / 2**20
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fault = f"the disk is full (the case takes {needed:.0f} MiB)"
        else:
            fault = f"cannot be written ({error.strerror or error})"
        raise UserError(
            f"{path.parent}: {fault} while {what}; make room, or set INVSEG_CACHE to another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if read_entry(path) is None:
        raise UserError(f"{path}: a damaged cache entry that cannot be replaced; delete it")


def map_array(path: Path) -> np.ndarray:
    """A `.npy` file, mapped read-only."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


def sweep(folder: Path) -> None:
    """Deletes what killed processes left behind, once it is a day old."""
    for path in folder.glob(f"{_PARTIAL}*"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                _delete(path)
        except OSError:
            continue  # another process was faster


def _publish(temporary: Path, path: Path) -> None:
    """Renames a finished entry into its place; another process may have been there first."""
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        if read_entry(path) is not None:
            return  # the same, made elsewhere in the meantime; others may be reading it
        aside = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
        os.rename(path, aside)
        try:
            os.rename(temporary, path)
        finally:
            _delete(aside)


def _save(path: Path, array: np.ndarray) -> int:
    """Writes a `.npy` file and returns its size in bytes.

    Not `np.save`: it hides the error number when a disk fills up.
    """
    array = np.ascontiguousarray(array)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.reshape(-1).view(np.uint8).data)
        return file.tell()


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
