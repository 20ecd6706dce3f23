"""A prepared case on disk: its arrays, mapped, and made anew where the disk has damaged them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from invseg_jax.data.prepare.cache_entry import describe, holds, map_array, map_plain
from invseg_jax.data.prepare.entry_manifest import MANIFEST, DamagedEntry
from invseg_jax.data.prepare.geometry import Geometry
from invseg_jax.errors import UserError
from invseg_jax.files.json_values import JsonObject

# How often one access makes the entry anew: each time another file may turn out to be damaged.
_ATTEMPTS = 5


@dataclass(frozen=True)
class CachedCase:
    """A prepared case on disk.

    Arrays are mapped anew at each access, read-only: a case holds no open file and is cheap to send
    to another process. A damaged entry is made anew; its arrays are then the same to the bit.

    Attributes:
        id: the case's name.
        folder: its entry in the cache.
        shape: (D, H, W) in voxels, of the network's grid.
        classes: number of classes, the background among them.
        remake: makes the entry anew from its source, given what is wrong with the entry. None:
            damage is an error, and a folder without a description is mapped as it is. In another
            process it is None.
    """

    id: str
    folder: Path
    shape: tuple[int, int, int]
    classes: int
    remake: Callable[[DamagedEntry], None] | None = field(default=None, compare=False, repr=False)

    @property
    def image(self) -> np.ndarray:
        """(D, H, W, C) float32, normalised."""
        found = self._map("image")
        if found is None:
            raise DamagedEntry(f"{self.folder / 'image.npy'} is missing")
        return found

    @property
    def label(self) -> np.ndarray | None:
        """(D, H, W) uint8 class indices, `IGNORED` where nobody labelled; None without a label."""
        return self._map("label")

    @property
    def labelled(self) -> bool:
        """Whether it has a label map, which is not read."""
        if self._by_hand():
            return (self.folder / "label.npy").exists()
        return self._mended(lambda: holds(self.folder, "label"))

    @property
    def geometry(self) -> Geometry:
        """How its grid came from the grid of the file."""
        return Geometry.from_json(self._described()["geometry"])

    @property
    def content(self) -> str:
        """The digest of its source files, see `case_digest`."""
        return self._described()["content"]

    @property
    def vanished(self) -> list[int]:
        """The classes that its label map has in the file and not on the network's grid."""
        return self._described().get("vanished", [])

    def foreground(self, index: int) -> np.ndarray:
        """Indices of voxels of class `index`: (m, 3) int32 along D, H, W, in rising order.

        They are all voxels of the class, or `cache.FOREGROUND_VOXELS` drawn at random without
        replacement where there are more. Where the class has no voxel, m is 0.

        Raises:
            IndexError: `index` is not from 1 to classes - 1.
        """
        if not 1 <= index < self.classes:
            raise IndexError(f"foreground classes are 1 to {self.classes - 1}, not {index}")
        found = self._map(f"foreground-{index}")
        return np.empty((0, 3), np.int32) if found is None else found

    def _map(self, name: str) -> np.ndarray | None:
        if self._by_hand():
            path = self.folder / f"{name}.npy"
            return map_plain(path) if path.exists() else None
        return self._mended(lambda: map_array(self.folder, name))

    def _described(self) -> JsonObject:
        return self._mended(lambda: describe(self.folder))

    def _by_hand(self) -> bool:
        """Whether the folder is no entry of a cache, such as one that a test writes."""
        return self.remake is None and not (self.folder / MANIFEST).exists()

    def _mended(self, read: Callable[[], Any]) -> Any:
        """What `read` gives; where the entry is damaged, after it was made anew.

        Raises:
            DamagedEntry: it cannot be made anew, as `remake` is None.
            UserError: its source cannot be read any more, or the disk damages it each time.
        """
        for _ in range(_ATTEMPTS):
            try:
                return read()
            except DamagedEntry as fault:
                if self.remake is None:
                    raise
                self.remake(fault)
                last = fault
        raise UserError(
            f"case {self.id}: {last}, also after it was made anew; check the disk, or set "
            "INVSEG_CACHE to a folder on another disk"
        )

    def __getstate__(self) -> dict[str, object]:
        """All but `remake`, which belongs to this process."""
        return {**self.__dict__, "remake": None}
