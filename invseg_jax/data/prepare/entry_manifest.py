"""What a cache entry's `entry.json` says about its files, and whether they are as it says.

`entry.json` holds the entry's key, the size and the checksum (CRC-32) of each array file, a
description, and a checksum of its own content. CRC-32 finds every change of up to three bits in a
file of a few hundred MB; it is no protection against somebody who may write to the cache.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from invseg_jax.files.file_times import settled
from invseg_jax.files.json_values import JsonObject, json_checksum

MANIFEST = "entry.json"
_CHUNK = 1 << 20

State = tuple[int, ...]
# What this process has found to be as it was written, with the state of the file at that time. A
# file is looked at again only once its state has changed.
_manifests: dict[Path, tuple[State, JsonObject]] = {}
_verified: dict[Path, tuple[State, int]] = {}


class DamagedEntry(ValueError):
    """An entry or one of its files is missing or not as it was written; says which, and what."""


def read_manifest(folder: Path) -> JsonObject:
    """What `entry.json` holds: "files" (size and checksum by name), "description" and "key".

    Raises:
        DamagedEntry: it is missing or not as it was written.
    """
    path = folder / MANIFEST
    try:
        with open(path, "rb") as stream:
            state = _state(stream)
            seen = _manifests.get(path)
            if seen is not None and seen[0] == state:
                return seen[1]
            content = json.loads(stream.read())
        checksum = content.pop("checksum")
        if checksum != json_checksum(content) or not _is_manifest(content, folder.name):
            raise ValueError
    except FileNotFoundError as error:
        raise DamagedEntry(f"{path} is missing") from error
    except OSError as error:
        raise DamagedEntry(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedEntry(f"{path} is not as it was written") from error
    if settled(state[-1]):
        _manifests[path] = (state, content)
    return content


def _is_manifest(content: Any, key: str) -> bool:
    """Whether the parts are there, and of this entry: a folder may have got another's name."""
    match content:
        case {"key": str(own), "files": dict(files), "description": dict()}:
            return own == key and all(map(_is_file, files.values()))
    return False


def _is_file(value: Any) -> bool:
    match value:
        case [int(), int()]:
            return True
    return False


def check_size(path: Path, found: int, size: int) -> None:
    """Compares the size of a file with the size that was written, both in bytes.

    Raises:
        DamagedEntry: they differ.
    """
    if found != size:
        raise DamagedEntry(f"{path} holds {found} bytes, not the {size} that were written")


def verify(stream: BinaryIO, path: Path, size: int, checksum: int, *, again: bool = False) -> None:
    """Compares an open array file with its size and checksum, unless that was done before.

    Args:
        stream: the file, open for reading.
        path: its name.
        size: in bytes.
        checksum: of all its bytes.
        again: compare it even where it was found to be sound before.

    Raises:
        DamagedEntry: it is not as it was written.
        OSError: it cannot be read.
    """
    state = _state(stream)
    check_size(path, os.fstat(stream.fileno()).st_size, size)
    if _verified.get(path) == (state, checksum) and not again:
        return
    found, buffer = 0, memoryview(bytearray(_CHUNK))
    stream.seek(0)
    while count := stream.readinto(buffer):  # pyright: ignore[reportAttributeAccessIssue]
        found = zlib.crc32(buffer[:count], found)
    if found != checksum:
        raise DamagedEntry(f"{path} is not as it was written (its checksum differs)")
    if settled(state[-1]):
        _verified[path] = (state, checksum)


def _state(stream: BinaryIO) -> State:
    """What changes when a file is written to or replaced; the time of the change comes last."""
    state = os.fstat(stream.fileno())
    return state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns, state.st_mtime_ns
