"""Arrays on disk under a key, ready to be memory-mapped; whole or not there at all.

An entry is a folder of `.npy` files and an `entry.json` with their sizes and checksums and a
description. It appears by a rename, so several processes may make the same one, and what a killed
process or a full disk leaves behind is never taken for an entry.

`entry.json` holds a checksum of itself, which is looked at each time that it is read. An array is
read through and compared with its checksum when this process first maps it, so that the start of a
training does not read the whole cache.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from invseg_jax.data.prepare.entry_manifest import (
    MANIFEST,
    DamagedEntry,
    check_size,
    read_manifest,
    verify,
)
from invseg_jax.errors import UserError
from invseg_jax.files.cache_folder import make_private, open_private
from invseg_jax.files.json_values import JsonObject, as_json_values, json_checksum

_PARTIAL = ".partial-"
_STALE_SECONDS = 24 * 3600


def read_entry(path: Path) -> JsonObject | None:
    """The description of the entry at `path` if it is there and whole, else None.

    Whole: the description is as it was written, and each array has its size. What the arrays hold
    is verified when they are mapped.
    """
    return None if entry_fault(path) else describe(path)


def entry_fault(path: Path) -> str | None:
    """What is wrong with the entry at `path`; None if it is whole in the sense of `read_entry`."""
    try:
        for name, (size, _) in read_manifest(path)["files"].items():
            check_size(path / name, (path / name).stat().st_size, size)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})"
    except DamagedEntry as fault:
        return str(fault)
    return None


def describe(path: Path) -> JsonObject:
    """The description of an entry.

    Raises:
        DamagedEntry: it is not there or not as it was written.
    """
    return read_manifest(path)["description"]


def holds(path: Path, name: str) -> bool:
    """Whether an entry has an array of this name.

    Raises:
        DamagedEntry: as `describe`.
    """
    return f"{name}.npy" in read_manifest(path)["files"]


def write_entry(
    path: Path,
    description: Mapping[str, object],
    arrays: Mapping[str, np.ndarray],
    what: str,
    root: Path | None = None,
) -> None:
    """Writes an entry, unless another process has it there first; only its owner may read it.

    Args:
        path: the entry's folder; the one that holds it is made if it is missing.
        description: what JSON can hold.
        arrays: by name, without an ending; not empty.
        what: what is being done, for a message such as "while preparing case 7".
        root: the cache folder; by default the folder above `path`.

    Raises:
        UserError: it cannot be written, as when the disk is full.
    """
    temporary = path.with_name(f"{_PARTIAL}{path.name[:16]}-{secrets.token_hex(4)}")
    try:
        make_private(temporary, path.parent if root is None else root)
        files = {f"{n}.npy": _save(temporary / f"{n}.npy", array) for n, array in arrays.items()}
        content = as_json_values({"key": path.name, "files": files, "description": description})
        content["checksum"] = json_checksum(content)
        with open_private(temporary / MANIFEST) as file:
            file.write(json.dumps(content).encode())
        _publish(temporary, path)
    except OSError as error:
        needed = sum(array.nbytes for array in arrays.values()) / 2**20
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            fault, room = f"the disk is full (the case takes {needed:.0f} MiB)", "make room, or "
        else:
            fault, room = f"cannot be written ({error.strerror or error})", ""
        raise UserError(
            f"{path.parent}: {fault} while {what}; {room}set INVSEG_CACHE to another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if read_entry(path) is None:
        raise UserError(f"{path}: a damaged cache entry that cannot be replaced; delete it")


def remove_entry(path: Path) -> None:
    """Deletes an entry, in one step for other processes; arrays that are mapped stay usable.

    Raises:
        UserError: it cannot be deleted.
    """
    aside = path.with_name(f"{_PARTIAL}{secrets.token_hex(8)}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(
            f"{path}: a damaged cache entry that cannot be deleted ({error.strerror or error}); "
            "delete it"
        ) from error
    _delete(aside)


def map_array(path: Path, name: str) -> np.ndarray | None:
    """An array of an entry, mapped read-only; None if the entry has none of this name.

    The first time in this process, and after each change of the file, the whole file is read and
    compared with its checksum. The file that is open counts, and not its name: another process may
    replace the entry at any time.

    Raises:
        DamagedEntry: the entry or the file is missing or not as it was written.
        OSError: the file cannot be opened for another reason.
    """
    files = read_manifest(path)["files"]
    file = path / f"{name}.npy"
    if file.name not in files:
        return None
    size, checksum = files[file.name]
    try:
        with open(file, "rb") as stream:
            verify(stream, file, size, checksum)
            return _mapped(stream)
    except DamagedEntry:
        raise
    except (
        ValueError,
        OverflowError,
    ) as error:  # the header of another writer, or one that claims too much
        raise DamagedEntry(f"{file} is no array of this cache ({error})") from error
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EIO, errno.ESTALE):
            raise
        raise DamagedEntry(f"{file} cannot be read ({error.strerror})") from error


def map_plain(path: Path) -> np.ndarray:
    """A `.npy` file outside of any entry, mapped read-only and not verified."""
    with open(path, "rb") as stream:
        return _mapped(stream)


def is_sound(path: Path) -> bool:
    """Whether an entry is there and all its arrays are as they were written; reads all of them."""
    try:
        for name, (size, checksum) in read_manifest(path)["files"].items():
            with open(path / name, "rb") as stream:
                verify(stream, path / name, size, checksum, again=True)
                _mapped(stream)
    except (OSError, ValueError, OverflowError):  # DamagedEntry is a ValueError
        return False
    return True


def sweep(folder: Path) -> None:
    """Deletes what killed processes left behind, once it is a day old."""
    for path in folder.glob(f"{_PARTIAL}*"):
        try:
            if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                _delete(path)
        except OSError:
            continue  # another process was faster


def _mapped(stream: BinaryIO) -> np.ndarray:
    stream.seek(0)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("not a file of this cache")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("an array of objects")
    order = "F" if fortran else "C"
    return np.memmap(stream, dtype, "r", stream.tell(), shape, order)


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


def _save(path: Path, array: np.ndarray) -> tuple[int, int]:
    """Writes a `.npy` file and returns its size in bytes and its checksum.

    Not `np.save`: it hides the error number when a disk fills up.
    """
    array = np.ascontiguousarray(array)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    voxels = array.reshape(-1).view(np.uint8).data
    with open_private(path) as file:
        file.write(header.getvalue())
        file.write(voxels)
        return file.tell(), zlib.crc32(voxels, zlib.crc32(header.getvalue()))


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
