"""The form in which a stream of volumes passes through the trunk: each plane in one row.

Accelerators lay arrays out in tiles of their last axes, TPUs in tiles of 8 x 128 numbers. Channels
are few at full resolution, and planes are narrower than 128 voxels: whichever of the two a compiler
puts last, a stream of 64 voxels' width and 32 channels takes twice to four times its bytes. All
voxels of a plane on one axis leave nothing to pad. On CPUs and GPUs the two forms are the same
bytes.
"""

from dataclasses import dataclass
from functools import partial

import jax

from invseg_jax.reversible.layer import Array, PyTree


@partial(jax.tree_util.register_dataclass, data_fields=("rows",), meta_fields=("width",))
@dataclass(frozen=True)
class Planes:
    """A volume whose planes lie flat.

    Attributes:
        rows: (n, d, h * w, c); of several volumes (`Repeat` stacks taps), with axes before these.
        width: w.
    """

    rows: Array
    width: int

    @classmethod
    def of(cls, volume: Array) -> "Planes":
        """(..., n, d, h, w, c), flattened."""
        *before, h, w, c = volume.shape
        return cls(volume.reshape(*before, h * w, c), w)

    @property
    def volume(self) -> Array:
        """(..., n, d, h, w, c)."""
        *before, voxels, c = self.rows.shape
        return self.rows.reshape(*before, voxels // self.width, self.width, c)


def flattened(tree: PyTree) -> PyTree:
    """A tree with `Planes` in place of the volumes (n, d, h, w, c) in it.

    Images (n, h, w, c) and sequences (n, l, c) stay as they are.
    """
    return jax.tree.map(lambda x: Planes.of(x) if x.ndim == 5 else x, tree)


def unflattened(tree: PyTree) -> PyTree:
    """A tree with volumes in place of the `Planes` in it."""
    return jax.tree.map(lambda x: x.volume if _is_planes(x) else x, tree, is_leaf=_is_planes)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Form:
    """Which arrays of a tree were `Planes`, so that its cotangent can be given the same form."""

    flat: tuple[bool, ...]

    @classmethod
    def of(cls, tree: PyTree) -> "Form":
        """The form of a tree with `Planes` in it."""
        return cls(tuple(map(_is_planes, jax.tree.leaves(tree, is_leaf=_is_planes))))

    def give(self, tree: PyTree) -> PyTree:
        """Flattens in an `unflattened` tree what was `Planes`."""
        leaves, structure = jax.tree.flatten(tree)
        pairs = zip(self.flat, leaves, strict=True)
        given = [Planes.of(leaf) if flat else leaf for flat, leaf in pairs]
        return jax.tree.unflatten(structure, given)


def _is_planes(x: object) -> bool:
    return isinstance(x, Planes)
