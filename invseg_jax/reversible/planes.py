"""The form in which a stream of volumes passes through the trunk: each plane in one row.

Accelerators lay arrays out in tiles of their last axes, TPUs in tiles of 8 x 128 numbers. Channels
are few at full resolution, and planes are narrower than 128 voxels: whichever of the two a compiler
puts last, a stream of 64 voxels' width and 32 channels takes twice to four times its bytes. All
voxels of a plane on one axis leave nothing to pad. On CPUs and GPUs the two forms are the same
bytes.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from invseg_jax.reversible.layer import Array


@partial(jax.tree_util.register_dataclass, data_fields=("rows",), meta_fields=("width",))
@dataclass(frozen=True)
class Planes:
    """A volume whose planes lie flat.

    Attributes:
        rows: (n, d, h * w, c).
        width: w.
    """

    rows: Array
    width: int

    @classmethod
    def of(cls, volume: Array) -> "Planes":
        """(n, d, h, w, c), flattened."""
        n, d, h, w, c = volume.shape
        return cls(volume.reshape(n, d, h * w, c), w)

    @property
    def volume(self) -> Array:
        """(n, d, h, w, c)."""
        n, d, voxels, c = self.rows.shape
        return self.rows.reshape(n, d, voxels // self.width, self.width, c)


def flattened(tree: Any) -> Any:
    """A tree with `Planes` in place of the volumes (n, d, h, w, c) in it."""
    return jax.tree.map(lambda x: Planes.of(x) if x.ndim == 5 else x, tree)


def unflattened(tree: Any) -> Any:
    """The inverse of `flattened`."""

    def is_planes(x: Any) -> bool:
        return isinstance(x, Planes)

    return jax.tree.map(lambda x: x.volume if is_planes(x) else x, tree, is_leaf=is_planes)
