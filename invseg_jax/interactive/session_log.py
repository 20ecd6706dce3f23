"""The log of a session: JSON lines, each with its checksum.

The first line is the header. Each further line is one action, numbered from 1, with what the method
made for it, so that a session is resumed without waiting for the method:

    {"n":1,"action":"prompt","label":1,"index":12,"prompt":{...},"carry":true,
     "made":[[12,1.0,"<base64>"],...],"crc":"0a1b2c3d"}

The checksum is the CRC-32 of the line before `,"crc"`. A line without a line break at its end was
being written when the program ended, and is dropped. Any other damage is an error.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from invseg_jax.errors import UserError
from invseg_jax.files.atomic_file import write_atomically
from invseg_jax.files.json_types import fields_fault
from invseg_jax.files.json_values import JsonObject
from invseg_jax.files.missing import why_missing
from invseg_jax.interactive.history import Made

VERSION = 1
_CRC = re.compile(rb'(\{.*),"crc":"([0-9a-f]{8})"\}', re.DOTALL)


@dataclass(frozen=True)
class Header:
    """What a log belongs to.

    Attributes:
        version: of the format.
        image: SHA-256 of the image, see `SessionImage.digest`.
        axis: of the file, which counts the slices.
        labels: names of the objects at the start.
        method: name of the method.
    """

    version: int
    image: str
    axis: int
    labels: tuple[str, ...]
    method: str


def header_line(header: Header) -> bytes:
    """The first line of a log."""
    return _line({"log": "invseg_jax session", **asdict(header)})


def action_line(number: int, action: JsonObject, made: Mapping[int, Made]) -> bytes:
    """The line of an action.

    Args:
        number: of the action, from 1.
        action: in terms of JSON.
        made: what the method made for it, by slice.
    """
    line: JsonObject = {"n": number, **action}
    if made:
        line["made"] = [
            [z, one.quality, base64.b64encode(one.values).decode()] for z, one in made.items()
        ]
    return _line(line)


@dataclass(frozen=True)
class ReadLog:
    """A log that was read.

    Attributes:
        header: the first line.
        actions: the actions, and what was made for them; None where nothing was.
        torn: whether a last line was dropped, because it is not whole.
    """

    header: Header
    actions: tuple[tuple[JsonObject, dict[int, Made] | None], ...]
    torn: bool


def read_log(path: str | Path) -> ReadLog:
    """Reads a log and checks every line.

    Raises:
        UserError: it is missing, is no log, is of a later version, or is damaged.
    """
    path = Path(path)
    if reason := why_missing(path):
        raise UserError(f"{path}: {reason}")
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    last = lines.pop()  # empty where the last line is whole
    if _whole(last):  # all but its line break had been written
        lines, last = [*lines, last], b""
    elif _whole(last[:-1]):  # the line break is there, and is none
        raise _damaged(path, len(lines) + 1)
    if not lines:
        raise UserError(f"{path}: is no log of a session, or its first line is not whole")
    values = [_values(path, number, line) for number, line in enumerate(lines, 1)]
    header = _header(path, values[0])
    actions = []
    for number, action in enumerate(values[1:], 1):
        if action.pop("n", None) != number:
            raise UserError(f"{path}: line {number + 1} is not the one that should follow")
        actions.append((action, _made(path, number + 1, action.pop("made", None))))
    return ReadLog(header, tuple(actions), torn=bool(last))


class LogFile:
    """A log that grows by a line at a time; each is on the disk before `append` returns."""

    def __init__(self, path: Path, content: Sequence[bytes], *, replace: bool) -> None:
        """Writes a log and keeps it open.

        Args:
            path: the file.
            content: its lines up to now.
            replace: whether a file of this name may be replaced.

        Raises:
            UserError: it cannot be written, another session writes it, or there is a file that may
                not be replaced.
        """
        if os.path.lexists(path) and not replace:
            raise UserError(
                f"{path}: is there already; resume that session, or give another file for this one"
            )
        self.path = path
        try:
            with contextlib.ExitStack() as before:
                if path.exists():
                    _lock(before.enter_context(open(path, "rb")).fileno(), path)
                write_atomically(path, b"".join(content))
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from error
        try:
            _lock(self._file, path)
        except UserError:
            self.close()
            raise

    def append(self, line: bytes) -> None:
        """Adds a line and waits until it is on the disk.

        Raises:
            UserError: it cannot be written; the log is as before.
        """
        try:
            mine = os.fstat(self._file)
            if not self.path.exists() or not os.path.samestat(mine, os.stat(self.path)):
                raise UserError(
                    f"{self.path}: was moved, removed or replaced while the session wrote to it; "
                    "give the autosave another file"
                )
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror})") from error
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, mine.st_size)
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}), so the action was not done; "
                "free some space"
            ) from error

    def close(self) -> None:
        """Lets the file go."""
        os.close(self._file)


def _lock(file: int, path: Path) -> None:
    """Keeps other sessions out, where the file system has locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(
            f"{path}: another session writes to it; end that one, or give another file"
        ) from error
    except OSError:
        pass


def _line(values: JsonObject) -> bytes:
    text = json.dumps(values, separators=(",", ":"), allow_nan=False).encode()[:-1]
    return text + b',"crc":"%08x"}\n' % zlib.crc32(text)


def _whole(line: bytes) -> bool:
    found = _CRC.fullmatch(line)
    return found is not None and zlib.crc32(found[1]) == int(found[2], 16)


def _damaged(path: Path, number: int) -> UserError:
    return UserError(
        f"{path}: line {number} is damaged; cut the file before this line to resume with what is "
        "before it"
    )


def _values(path: Path, number: int, line: bytes) -> JsonObject:
    if not _whole(line):
        if number == 1:
            raise UserError(f"{path}: is no log of a session, or its first line is damaged")
        raise _damaged(path, number)
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        raise _damaged(path, number) from None
    del values["crc"]
    return values


def _header(path: Path, values: JsonObject) -> Header:
    if values.pop("log", None) != "invseg_jax session":
        raise UserError(f"{path}: is no log of a session")
    version = values.get("version")
    if type(version) is int and version > VERSION:
        raise UserError(
            f"{path}: is of version {version}, and this program knows versions up to {VERSION}; "
            "update invseg_jax"
        )
    if fault := fields_fault(Header, values, complete=True):
        raise UserError(f"{path}: the first line is no header: {fault}")
    return Header(**{**values, "labels": tuple(values["labels"])})


def _made(path: Path, number: int, values: object) -> dict[int, Made] | None:
    if values is None:
        return None
    made: dict[int, Made] = {}
    try:
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise TypeError
        for z, quality, packed in values:
            known = quality is None or (isinstance(quality, float | int) and 0 <= quality <= 1)
            if type(z) is not int or not known or z in made:
                raise TypeError
            made[z] = Made(
                base64.b64decode(packed, validate=True),
                None if quality is None else float(quality),
            )
    except (TypeError, ValueError, binascii.Error):
        raise UserError(
            f"{path}: line {number} does not hold slices as a session makes them"
        ) from None
    return made
