"""Where the voxels of a volume are, and whether two volumes have theirs in the same places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from invseg_jax.data.volumes.nifti import Volume

# How far apart two places may be that should be the same, as a fraction of a voxel. Writers round
# affines to float32 and to quaternions, so equality would refuse good files; and a tenth of a
# voxel is finer than what a label map can show.
PLACE_TOLERANCE = 0.1
# How much two spacings may differ, as a fraction, where the headers give no place: some writers
# round to two digits.
SPACING_TOLERANCE = 0.01


@dataclass(frozen=True)
class Grid:
    """A volume without its voxels.

    Attributes:
        path: the volume's file.
        shape: (D, H, W) in voxels.
        affine: (4, 4) float64, voxel indices to mm.
        oriented: whether the affine gives the place, see `Volume`.
    """

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray
    oriented: bool

    @classmethod
    def of(cls, volume: Volume) -> Grid:
        """The grid of a volume, 3-D or 4-D."""
        return cls(volume.path, volume.array.shape[:3], volume.affine, volume.oriented)

    @property
    def spacing(self) -> np.ndarray:
        """(3,) distance between voxel centres along the axes, in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def corners(self) -> np.ndarray:
        """The centres of the eight corner voxels, (8, 4), homogeneous, in voxels."""
        return corners(self.shape)

    def axes_of(self, other: Grid) -> Axes | None:
        """How the axes of another volume run along these axes, where both have the same voxels.

        Files can store the same voxels in another order: axes exchanged, or counted from the
        other end.

        Args:
            other: its voxels may be stored along other axes.

        Returns:
            What brings an array of `other` onto this grid. None where the voxels of the two are not
            in the same places, to `PLACE_TOLERANCE`, or where a header does not say where its
            volume lies.
        """
        axes = self._nearest_axes(other)
        if axes is None or self._apart(other, axes, voxels=True) > PLACE_TOLERANCE:
            return None
        return axes

    def _nearest_axes(self, other: Grid) -> Axes | None:
        """The axes that would bring another volume nearest to this one's places.

        None where its axes do not run along those of this one, or have other lengths.
        """
        if not (self.oriented and other.oriented):
            return None
        signed = np.rint(np.linalg.solve(self.affine, other.affine)[:3, :3])
        order = np.abs(signed).argmax(axis=1)
        # Every axis of one must run along one axis of the other.
        if (
            not (np.abs(signed).sum(axis=0) == 1).all()
            or not (np.abs(signed).sum(axis=1) == 1).all()
        ):
            return None
        axes = Axes(
            order=(int(order[0]), int(order[1]), int(order[2])),
            reversed=tuple((signed.sum(axis=1) < 0).tolist()),
        )
        same = tuple(other.shape[axis] for axis in axes.order) == self.shape
        return axes if same else None

    def _apart(self, other: Grid, axes: Axes, *, voxels: bool = False) -> float:
        """How far a voxel of another volume is at most from its place in this one.

        Args:
            other: the other volume.
            axes: how its axes run along those of this one.
            voxels: whether along the axes in voxels, else as a distance in mm.
        """
        exact = np.zeros((4, 4))
        exact[range(3), axes.order] = np.where(axes.reversed, -1, 1)
        exact[:3, 3] = np.where(axes.reversed, np.array(self.shape) - 1, 0)
        exact[3, 3] = 1
        mapping = np.linalg.solve(self.affine, other.affine)  # indices of other to our own
        apart = other.corners() @ (mapping - exact).T
        if voxels:
            return float(np.abs(apart).max())
        return float(np.linalg.norm((apart @ self.affine.T)[:, :3], axis=1).max())

    def overlaps(self, other: Grid) -> bool:
        """Whether another volume reaches over the centre of some voxel of this one.

        As far as the boxes around both tell. A voxel reaches half its width beyond its centre.
        """
        faces = corners([n + 1 for n in other.shape]) - (0.5, 0.5, 0.5, 0)
        mapped = faces @ np.linalg.solve(self.affine, other.affine).T
        low, high = mapped[:, :3].min(axis=0), mapped[:, :3].max(axis=0)
        return bool((high >= 0).all() and (low <= np.array(self.shape) - 1).all())

    def differs(self, other: Grid) -> str | None:
        """What shows that the voxels of two volumes are not in the same places, or None.

        The same voxels may be stored along other axes, see `axes_of`. Where a header does not say
        where its volume lies, shapes and spacings are compared.
        """
        axes = self._nearest_axes(other)
        if axes is None and self.oriented and other.oriented and other.shape == self.shape:
            axes = Axes((0, 1, 2), (False, False, False))  # a turned lattice
        if axes is not None and self._apart(other, axes, voxels=True) > PLACE_TOLERANCE:
            return (
                f"the affines put a corner {self._apart(other, axes):.3g} mm apart, with voxels of "
                f"{along(self.spacing)} mm (a tenth of a voxel is allowed): {self.path} and "
                f"{other.path}"
            )
        if axes is None and other.shape != self.shape:
            return f"shapes differ: {self.shape} in {self.path}, {other.shape} in {other.path}"
        # Places tell of spacings too, but not along an axis of a single voxel.
        tolerance = SPACING_TOLERANCE if axes is None else PLACE_TOLERANCE
        spacing = other.spacing if axes is None else other.spacing[list(axes.order)]
        if (np.abs(spacing / self.spacing - 1) > tolerance).any():
            return (
                f"spacings differ: {along(self.spacing)} mm in {self.path}, "
                f"{along(spacing)} mm in {other.path}"
            )
        return None


@dataclass(frozen=True)
class Axes:
    """How an array is brought along the axes of another array.

    Attributes:
        order: for each axis of the result, the axis of the array that runs along it.
        reversed: for each axis of the result, whether the array counts from the far end.
    """

    order: tuple[int, int, int]
    reversed: tuple[bool, ...]

    def bring(self, array: np.ndarray) -> np.ndarray:
        """A view of an array (D, H, W, ...) along the axes of the other array."""
        view = array.transpose(*self.order, *range(3, array.ndim))
        return view[tuple(slice(None, None, -1 if back else 1) for back in self.reversed)]


def corners(shape: Sequence[int]) -> np.ndarray:
    """The centres of the eight corner voxels of a volume, (8, 4), homogeneous, in voxels."""
    result = np.array([(*index, 1) for index in np.ndindex(2, 2, 2)], np.float64)
    result[:, :3] *= np.array(shape[:3]) - 1
    return result


def along(values: Iterable[float]) -> str:
    """Numbers of the three axes, for a message: "1 x 1 x 2.5", "512 x 512 x 30"."""
    return " x ".join(str(v) if isinstance(v, int) and v < 10**9 else f"{v:.4g}" for v in values)
