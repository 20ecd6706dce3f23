"""What was found in the files of volumes, remembered from one start to the next.

Each volume has a small record in the cache, named by the volume's path:

    digests/SHA256_OF_PATH.json     the state of the files, what was found, a checksum of both

A record counts while its files have the same size, times and inode. Whatever is wrong with it, the
volume is read again: that takes longer, and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from invseg_jax.data.nifti import volume_files
from invseg_jax.errors import UserError

# Raised where what is remembered changes, or how files are read.
FORMAT = 1
# Two changes sooner one after the other may have the same time.
_SETTLED_NS = 2 * 10**9

# Of each file of a volume: path, size, time of the last write and of the last change, inode.
States = list[tuple[str, int, int, int, int]]


def file_states(path: str | Path) -> States | None:
    """The state of each file of a volume; None where one is missing."""
    states = []
    try:
        for file in volume_files(path):
            state = file.stat()
            times = state.st_mtime_ns, state.st_ctime_ns
            states.append((os.path.abspath(file), state.st_size, *times, state.st_ino))
    except (OSError, ValueError, UserError):  # ValueError: no such name can exist
        return None
    return states


def recall(states: States) -> dict[str, Any] | None:
    """What was kept of a volume whose files were in these states, if anything was."""
    try:
        content = json.loads(_record(states).read_bytes())
        record = content["record"]
        if content["sha256"] != _checksum(record) or record["format"] != FORMAT:
            return None
        # JSON has no tuples.
        return record["found"] if record["files"] == [list(state) for state in states] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError):
        return None


def keep(states: States, found: dict[str, Any]) -> None:
    """Remembers what was found in a volume; where nothing can be written, nothing is remembered.

    Args:
        states: of its files, before they were read.
        found: what JSON can hold.
    """
    newest = max(time for _, _, *times, _ in states for time in times)
    if time.time_ns() - newest <= _SETTLED_NS:
        return
    record = {"format": FORMAT, "files": states, "found": found}
    content = json.dumps({"record": record, "sha256": _checksum(record)})
    # Not waiting for the disk, of which hundreds of records would feel each one: a record that is
    # lost or cut short is made again. Paths may name patients, so only the owner may read them.
    with contextlib.suppress(OSError, UserError):
        path = _record(states)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _record(states: States) -> Path:
    """Where the record of a volume is."""
    # Not at the top: the prepared cases, in the same cache, are named by what is found here.
    from invseg_jax.data.cache import cache_root

    paths = "\0".join(path for path, *_ in states)
    return cache_root() / "digests" / f"{hashlib.sha256(os.fsencode(paths)).hexdigest()}.json"


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
