"""What a cache entry's `entry.json` says of its files, and whether they are still so.

It holds the entry's key, the size and the checksum (CRC-32) of each array file, a description, and
a checksum of itself. CRC-32 finds every change of up to three bits in a file of a few hundred MB;
it is no protection against somebody who may write to the cache.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

MANIFEST = "entry.json"
_CHUNK = 1 << 20
# A file that was changed twice within so short a time may show one time for both changes.
_SETTLED_NS = 2 * 10**9

State = tuple[int, ...]
# What was found as it was written, with the state of its file then: it is not looked at again
# before the file changes. Each process has its own.
_manifests: dict[Path, tuple[State, dict[str, Any]]] = {}
_verified: dict[Path, tuple[State, int]] = {}


class DamagedEntry(ValueError):
    """An entry, or a file of it, is missing or not as it was written; says which and how."""


def read_manifest(folder: Path) -> dict[str, Any]:
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
        if checksum != own_checksum(content) or not _is_manifest(content, folder.name):
            raise ValueError
    except FileNotFoundError as error:
        raise DamagedEntry(f"{path} is missing") from error
    except OSError as error:
        raise DamagedEntry(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedEntry(f"{path} is not as it was written") from error
    if _settled(state):
        _manifests[path] = (state, content)
    return content


def own_checksum(content: Mapping[str, Any]) -> int:
    """The checksum of what `entry.json` says, however it is laid out in the file."""
    return zlib.crc32(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


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
    """Compares the size of a file, in bytes.

    Raises:
        DamagedEntry: it is another.
    """
    if found != size:
        raise DamagedEntry(f"{path} holds {found} bytes, not the {size} that were written")


def verify(stream: BinaryIO, path: Path, size: int, checksum: int, *, again: bool = False) -> None:
    """Compares an open array file with its size and checksum, once while it stays as it is.

    Args:
        stream: the file, open for reading.
        path: its name.
        size: in bytes.
        checksum: of all its bytes.
        again: also where it was found as it was written before.

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
    if _settled(state):
        _verified[path] = (state, checksum)


def _state(stream: BinaryIO) -> State:
    """What changes when a file is written to or replaced; the time of the change comes last."""
    state = os.fstat(stream.fileno())
    return state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns, state.st_mtime_ns


def _settled(state: State) -> bool:
    return abs(time.time_ns() - state[-1]) > _SETTLED_NS
