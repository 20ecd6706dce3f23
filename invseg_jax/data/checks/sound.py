"""Cases that were found without fault, remembered by their content.

A case that is as it was, is not read again: its files' SHA-256 and what they were checked against
name an empty file in the cache. Faults are not kept; who mends one wants to see the others anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path

from invseg_jax.data.cache import cache_root
from invseg_jax.data.content import volume_digest
from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.data.nifti import volume_limit
from invseg_jax.errors import UserError

# Of the checks; a change of what they find must change it.
FORMAT = 2


class SoundCases:
    """The memory of sound cases: an empty file for each, named by what it depends on."""

    def __init__(self, folder: Path | None = None):
        """Opens the memory in `folder`, or in the cache."""
        self._folder = cache_root() / "sound" if folder is None else folder

    def key(
        self, dataset: Dataset, contents: Sequence[str | None], tolerate: Collection[str]
    ) -> str:
        """Names a case of these contents (see `digests`), checked as one of this data set."""
        against = {
            "format": FORMAT,
            "modalities": len(dataset.modalities),
            "values": dataset.values,
            "ignore": dataset.ignore,
            "reference": dataset.reference,
            "limit": volume_limit(),
            "tolerate": sorted(tolerate),
            "contents": contents,
        }
        return hashlib.sha256(json.dumps(against, sort_keys=True).encode()).hexdigest()

    def remembers(self, key: str) -> bool:
        """Whether a case of this key was found sound."""
        return (self._folder / key).exists()

    def remember(self, key: str) -> None:
        """Keeps that a case of this key is sound; where that fails, it will be read again."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / key).touch()


def digests(case: Case) -> list[str | None]:
    """The SHA-256 of each image of a case, then that of its label map, or "" where it has none.

    None in the place of a file that cannot be read.
    """
    found: list[str | None] = []
    for path in (*case.images, case.label):
        try:
            found.append("" if path is None else volume_digest(path))
        except UserError:
            found.append(None)
    return found
