"""Where the voxels of a volume are, and whether two volumes have theirs in the same places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from invseg_jax.data.nifti import Volume

# How far two grids that should be one may lie apart at a corner, in mm. Writers round affines to
# float32 and quaternions, so equality would refuse good files.
CORNER_TOLERANCE_MM = 0.1


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
        """That of a volume, 3-D or 4-D."""
        return cls(volume.path, volume.array.shape[:3], volume.affine, volume.oriented)

    def corners(self) -> np.ndarray:
        """The centres of the eight corner voxels, (8, 4), homogeneous, in voxels."""
        corners = np.array([(*index, 1) for index in np.ndindex(2, 2, 2)], np.float64)
        corners[:, :3] *= np.array(self.shape) - 1
        return corners

    def differs(self, other: Grid) -> str | None:
        """In which way the voxels of two volumes are not in the same places, or None."""
        if other.shape != self.shape:
            return f"shapes differ: {self.shape} in {self.path}, {other.shape} in {other.path}"
        if not (self.oriented and other.oriented):
            return None
        apart = self.corners() @ (self.affine - other.affine).T
        distance = np.linalg.norm(apart[:, :3], axis=1).max()
        if distance <= CORNER_TOLERANCE_MM:
            return None
        return (
            f"the affines put a corner {distance:.3g} mm apart (at most {CORNER_TOLERANCE_MM} mm "
            f"is allowed): {self.path} and {other.path}"
        )
