"""What a case is known by: the bytes of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from invseg_jax.data.layouts.case import Case
from invseg_jax.data.nifti import source_files
from invseg_jax.errors import UserError


def case_digest(case: Case) -> str:
    """SHA-256 of the bytes of a case's images and label map, by which it is known again.

    Raises:
        UserError: a file is missing or cannot be read; the message names the case.
    """
    digest = hashlib.sha256()
    for role, path in [*(("image", path) for path in case.images), ("label", case.label)]:
        for file in () if path is None else _sources(case, path):
            try:
                with open(file, "rb") as stream:
                    content = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                raise UserError(
                    f"case {case.id}: {file}: cannot be read ({error.strerror or error}"
                    "); check the file and its permissions"
                ) from error
            digest.update(f"\n{role} {content}".encode())
    return digest.hexdigest()


def _sources(case: Case, path: Path) -> tuple[Path, ...]:
    try:
        return source_files(path)
    except UserError as error:
        raise UserError(f"case {case.id}: {error}") from error
