"""What was found in the files of volumes, remembered from one start to the next.

Each volume has a small record in the cache, named by the volume's path:

    digests/SHA256_OF_PATH      a checksum of the rest; the state of the files, and what was found

A record counts while its files have the same size, times and inode. Whatever is wrong with it, the
volume is read again: that takes longer, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path

from invseg_jax.data.volumes.nifti import volume_files
from invseg_jax.errors import UserError
from invseg_jax.files.cache_folder import FILE_MODE, cache_root, make_private
from invseg_jax.files.file_times import settled
from invseg_jax.files.json_values import JsonObject

# Raised where what is remembered changes, or how files are read.
FORMAT = 1

# For each file of a volume: path, size, times of the last write and of the last change, inode.
States = list[tuple[str, int, int, int, int]]


def file_states(path: str | Path) -> States | None:
    """The state of each file of a volume; None where a file is missing."""
    states = []
    try:
        for file in volume_files(path):
            state = file.stat()
            times = state.st_mtime_ns, state.st_ctime_ns
            states.append((os.path.abspath(file), state.st_size, *times, state.st_ino))
    except (OSError, ValueError, UserError):  # ValueError: no such name can exist
        return None
    return states


def recall(states: States) -> JsonObject | None:
    """What was kept of a volume when its files were in these states; None where nothing was."""
    try:
        checksum, _, text = _place(states).read_bytes().partition(b"\n")
        if checksum != _checksum(text):
            return None
        record = json.loads(text)
        # JSON has no tuples.
        same = record["files"] == [list(state) for state in states]
        return record["found"] if same and record["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError):
        return None


def keep(states: States, found: JsonObject) -> None:
    """Remembers what was found in a volume; does nothing where the cache cannot be written.

    Args:
        states: of its files, taken before they were read.
        found: what JSON can hold.
    """
    if not settled(*(time for _, _, *times, _ in states for time in times)):
        return
    text = json.dumps({"format": FORMAT, "files": states, "found": found}).encode()
    with contextlib.suppress(OSError, UserError):
        path, content = _place(states), _checksum(text) + b"\n" + text
        try:
            _write(path, content)
        except FileNotFoundError:  # the first one
            make_private(path.parent, path.parent.parent)
            _write(path, content)


def _write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all, as far as this process goes.

    It does not wait for the disk, as `write_atomically` does: hundreds of records would take
    seconds, and one that is lost or cut short is made again. Paths may name patients, so only the
    owner may read them.
    """
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with open(descriptor, "wb", buffering=0) as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def _place(states: States) -> Path:
    """Where the record of a volume is."""
    paths = os.fsencode("\0".join(path for path, *_ in states))
    return cache_root() / "digests" / hashlib.sha256(paths).hexdigest()


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
