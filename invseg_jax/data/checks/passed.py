"""Cases that were found without fault, remembered by their content.

A case that has not changed is not read again: the digests of its volumes and what they were checked
against name an empty file in the cache. Faults are not kept: whoever mends one wants to see the
others again. Warnings are not kept either: they follow from what is known of each file (`content`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.data.prepare.content import Content
from invseg_jax.data.volumes.nifti import volume_limit
from invseg_jax.files.cache_folder import FILE_MODE, cache_root, make_private

# To be raised whenever the checks find something else.
FORMAT = 3


class PassedCases:
    """The memory of sound cases: an empty file for each, named by what it depends on."""

    def __init__(self, folder: Path | None = None):
        """Opens the memory in `folder`, or in the cache."""
        self._folder = cache_root() / "sound" if folder is None else folder

    def key(
        self,
        dataset: Dataset,
        case: Case,
        contents: Mapping[Path, Content],
        tolerate: Collection[str],
    ) -> str | None:
        """Names a case of this data set by what is in its files.

        Args:
            dataset: what it was checked against.
            case: the case; its id and the names of its files do not count.
            contents: of its files.
            tolerate: kinds of faults that were passed over.

        Returns:
            The key; None where it is not known what is in a file.
        """
        if not all(path in contents for path in case.files):
            return None
        against = {
            "format": FORMAT,
            "modalities": len(dataset.modalities),
            "values": dataset.values,
            "ignore": dataset.ignore,
            "reference": dataset.reference,
            "limit": volume_limit(),
            "tolerate": sorted(tolerate),
            "images": [contents[path].exact for path in case.images],
            "label": "" if case.label is None else contents[case.label].exact,
        }
        return hashlib.sha256(json.dumps(against, sort_keys=True).encode()).hexdigest()

    def remembers(self, key: str | None) -> bool:
        """Whether a case of this key was found sound."""
        return key is not None and (self._folder / key).exists()

    def remember(self, key: str | None) -> None:
        """Keeps that a case of this key is sound; where that fails, it will be read again."""
        if key is None:
            return
        with contextlib.suppress(OSError):
            # An empty file that others put there would hide a fault.
            make_private(self._folder, self._folder.parent)
            (self._folder / key).touch(FILE_MODE)
