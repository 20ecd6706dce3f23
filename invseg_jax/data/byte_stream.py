"""The bytes of an image file, plain or gzip, read with bounded memory and to the very end.

A gzip stream carries its checksum after the data: whoever stops at the last voxel never compares
it, and a flipped bit passes for an intensity.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

import numpy as np

from invseg_jax.errors import UserError

# Bytes tolerated between header and voxels (extensions) and, in a gzip stream, after the voxels.
MAX_EXTRA = 64 << 20
# Deflate cannot expand a byte to more than this (zlib's own technical notes say 1032 : 1).
_DEFLATE_LIMIT = 1032
_CHUNK = 1 << 20
# How a file begins that git-lfs left in the place of the real one.
_POINTER = b"version https://git-lfs"

Stream = gzip.GzipFile | BufferedReader


@contextmanager
def open_stream(path: Path) -> Iterator[Stream]:
    """Opens a file for reading, through gzip where its first bytes say so.

    Raises:
        UserError: the file is empty or a git-lfs pointer; in the body too, where it is truncated,
            damaged or cannot be read.
    """
    try:
        with open(path, "rb") as raw:
            first = raw.read(len(_POINTER))
            raw.seek(0)
            if not first:
                raise UserError(f"{path}: the file is empty; fetch it again")
            if first == _POINTER:
                raise UserError(f"{path}: a git-lfs pointer, not an image; run `git lfs pull`")
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
        UserError: the file holds fewer bytes, or a gzip stream far more; its checksum is wrong.
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
    read_to_end(stream, path)
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


def read_to_end(stream: Stream, path: Path) -> None:
    """Reads a gzip stream to its end, where its checksum and its length are compared.

    Raises:
        UserError: much more follows than a header accounts for.
    """
    if not isinstance(stream, gzip.GzipFile):
        return
    extra = 0
    while part := stream.read(_CHUNK):
        extra += len(part)
        if extra > MAX_EXTRA:
            raise UserError(f"{path}: holds far more than its header claims; check the file")
