"""Digests of the bytes of a case's files, by which runs of earlier versions knew their cases.

A scan that is compressed anew or saved as another type has other bytes. New runs know a case by its
voxels, see `content`; these digests tell what an earlier run was trained on.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from pathlib import Path

from invseg_jax.data.layouts.case import Case
from invseg_jax.data.volumes.nifti import source_files
from invseg_jax.errors import UserError
from invseg_jax.files.file_times import settled


def case_file_digest(case: Case) -> str:
    """SHA-256 of the bytes of a case's images and label map.

    Raises:
        UserError: a file is missing or cannot be read; the message names the case.
    """
    digest = hashlib.sha256()
    try:
        for role, path in [*(("image", path) for path in case.images), ("label", case.label)]:
            if path is not None:
                digest.update(f"\n{role} {file_digest(path)}".encode())
    except UserError as error:
        raise UserError(f"case {case.id}: {error}") from error
    return digest.hexdigest()


def images_file_digest(case: Case) -> str:
    """SHA-256 of the bytes of a case's images alone.

    Raises:
        UserError: as `case_file_digest`.
    """
    return case_file_digest(replace(case, label=None))


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes of a volume's file, or of both files of a `.hdr` / `.img` pair.

    Raises:
        UserError: one is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for file in source_files(path):
        try:
            state = file.stat()
            read = _digest_once if settled(state.st_mtime_ns) else _digest_once.__wrapped__
            digest.update(read(file, state.st_size, state.st_mtime_ns))
        except OSError as error:
            raise UserError(
                f"{file}: cannot be read ({error.strerror or error}); check the file and its "
                "permissions"
            ) from error
    return digest.hexdigest()


@functools.lru_cache(maxsize=1 << 16)
def _digest_once(file: Path, size: int, changed: int) -> bytes:
    """SHA-256 of a file; kept, since it is needed for the whole case and for its images alone."""
    del size, changed
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
