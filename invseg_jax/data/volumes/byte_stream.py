"""The bytes of an image file, plain or gzip, read with bounded memory and to the very end.

A gzip stream carries its checksum after the data: whoever stops at the last voxel never compares
it, and a flipped bit passes for an intensity.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import numpy as np

from invseg_jax.errors import UserError

# Bytes tolerated between header and voxels: extensions.
MAX_EXTRA = 64 << 20
# Bytes tolerated after the voxels. More of them are voxels that the header does not know of: it
# claims a smaller type, or fewer rows or slices, and what is read is not what was stored.
MAX_PADDING = 15
# Deflate cannot expand a byte to more than this (zlib's own technical notes say 1032 : 1).
_DEFLATE_LIMIT = 1032
_CHUNK = 1 << 20
# How a file begins that git-lfs or git-annex left in the place of the real one.
_LFS = b"version https://git-lfs"
_ANNEX = re.compile(rb"/annex/objects/|(\.\./)*\.git/annex/objects/")

Stream = gzip.GzipFile | BufferedReader


@contextmanager
def open_stream(path: Path) -> Iterator[Stream]:
    """Opens a file for reading, through gzip where its first bytes say so.

    Raises:
        UserError: the file is empty, or a pointer of git-lfs or git-annex; in the body too, where
            it is truncated, damaged or cannot be read.
    """
    try:
        with open(path, "rb") as raw:
            first = raw.read(256)
            raw.seek(0)
            if not first:
                raise UserError(f"{path}: the file is empty; fetch it again")
            if first.startswith(_LFS):
                raise UserError(f"{path}: a git-lfs pointer, not an image; run `git lfs pull`")
            # Where a file system has no links, git writes the path of a link's target as the file.
            if _ANNEX.match(first):
                raise UserError(
                    f"{path}: a git-annex pointer, not an image; run `git annex get {path.name}`"
                )
            if first.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                    yield stream
            else:
                yield raw
    except EOFError as error:
        raise UserError(
            f"{path}: truncated, the gzip stream stops early; fetch the file again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(
            f"{path}: damaged, the gzip stream is corrupt ({error}); fetch the file again"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and "
            "its permissions"
        ) from error


def read_voxels(stream: Stream, path: Path, *, offset: int, skip: int, size: int) -> np.ndarray:
    """Reads the voxels' bytes, then the stream to its end.

    Args:
        stream: from `open_stream`.
        path: what it was opened from.
        offset: where the header says the voxels begin.
        skip: how many bytes of the stream lie before them still.
        size: how many bytes they take.

    Returns:
        (size,) uint8.

    Raises:
        UserError: the file holds fewer bytes, or more than `MAX_PADDING` after the voxels; or a
            gzip stream's checksum is wrong.
    """
    refuse_short(stream, path, offset + size)
    if skip > MAX_EXTRA:
        raise UserError(
            f"{path}: the header's vox_offset of {offset} is beyond reason; fetch it again"
        )
    while skip > 0:
        skip -= len(_some(stream, min(skip, _CHUNK), path))
    # Pages are only taken as they are filled, so a stream that stops early costs what it holds.
    voxels = np.empty(size, np.uint8)
    view, done = voxels.data, 0
    while done < size:
        part = _some(stream, min(_CHUNK, size - done), path)
        view[done : done + len(part)] = part
        done += len(part)
    read_to_end(stream, path, MAX_PADDING)
    return voxels


def refuse_short(stream: Stream, path: Path, claimed: int) -> None:
    """Refuses a file that cannot hold the bytes that its header claims.

    Raises:
        UserError: it is too small, also for a gzip stream of the best case.
    """
    available = path.stat().st_size
    if isinstance(stream, gzip.GzipFile):
        available *= _DEFLATE_LIMIT
    if claimed > available:
        raise UserError(
            f"{path}: truncated, the header claims {claimed} bytes and the file "
            f"cannot hold more than {available}; fetch it again"
        )


def _some(stream: Stream, count: int, path: Path) -> bytes:
    part = stream.read(count)
    if not part:
        raise UserError(
            f"{path}: truncated, it holds fewer voxels than its header claims; fetch the file again"
        )
    return part


def read_to_end(stream: Stream, path: Path, padding: int = MAX_EXTRA) -> None:
    """Reads on to the end; of a gzip stream, checksum and length are compared there.

    Args:
        stream: from `open_stream`.
        path: what it was opened from.
        padding: how many bytes may still come.

    Raises:
        UserError: more follows.
    """
    if isinstance(stream, gzip.GzipFile):
        extra = 0
        while extra <= padding and (part := stream.read(_CHUNK)):
            extra += len(part)
    else:
        extra = path.stat().st_size - stream.tell()
    if extra > padding:
        more = "at least " if isinstance(stream, gzip.GzipFile) else ""
        raise UserError(
            f"{path}: {more}{extra:,} bytes follow the voxels that the header claims: its type or "
            "its dimensions are too small for what is stored; mend the header, or fetch the file "
            "again"
        )
