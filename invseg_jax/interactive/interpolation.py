"""The volume between a few marked slices, by interpolating signed distances.

A person has this without any trained network; Slicer and ITK-SNAP do it between marked slices. With
`d(z)` the distance of a voxel to the border of the mask of slice z, in mm, positive inside, the
voxel belongs to the object between the marked slices a and b where

    (b - z) d(a) + (z - a) d(b) > 0

Beyond the outermost marked slice, and towards a slice that is marked as empty, the object goes on
and shrinks: its border moves inwards by `shrink` mm for every mm, so it ends by itself.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from invseg_jax.errors import UserError


def interpolate(
    marked: Mapping[int, np.ndarray],
    slices: int,
    spacing: tuple[float, float, float],
    *,
    shrink: float = 0.5,
) -> np.ndarray:
    """The object in all slices of a volume.

    Args:
        marked: the masks (rows, columns) of the marked slices, by their number, from 0. An empty
            mask says that the object is not in that slice.
        slices: how many the volume has.
        spacing: of slices, rows and columns, in mm.
        shrink: how many mm the border of the object moves inwards, for each mm beyond a slice.
            0 repeats the slice.

    Returns:
        bool array (slices, rows, columns); the marked slices are as given.

    Raises:
        UserError: no slice is marked, one is not in the volume, or their shapes differ.
    """
    if not marked:
        raise UserError("no slice is marked: there is nothing to interpolate between")
    if outside := [number for number in marked if not 0 <= number < slices]:
        raise UserError(
            f"slice {outside[0]} is marked, and the volume has slices 0 to {slices - 1}"
        )
    found = Interpolation(marked, spacing, shrink=shrink)
    volume = np.stack([found.field(z) > 0 for z in range(slices)])
    for number, mask in marked.items():
        volume[number] = mask
    return volume


class Interpolation:
    """The signed distance to the border of the object, in any slice between marked ones."""

    def __init__(
        self,
        marked: Mapping[int, np.ndarray],
        spacing: tuple[float, float, float],
        *,
        shrink: float = 0.5,
    ):
        """Measures the distances in the marked slices.

        Args:
            marked: the masks (rows, columns) of the marked slices, by their number, at least one.
            spacing: of slices, rows and columns, in mm.
            shrink: see `interpolate`.

        Raises:
            UserError: the masks have several shapes.
        """
        masks = {number: np.asarray(marked[number], bool) for number in sorted(marked)}
        if len(shapes := {mask.shape for mask in masks.values()}) != 1:
            raise UserError(f"the marked slices have several shapes: {sorted(shapes)}")
        self.shape, self.numbers = shapes.pop(), list(masks)
        self._step = spacing[0] * shrink
        # Farther outside than any voxel is from any other.
        self._outside = -float(np.hypot(*np.multiply(self.shape, spacing[1:])))
        self._distances = {
            number: signed_distance(mask, spacing[1:])
            for number, mask in masks.items()
            if mask.any()
        }

    def neighbours(self, z: int) -> tuple[int | None, int | None]:
        """The nearest marked slices below and above slice z; z itself where it is marked."""
        below = [number for number in self.numbers if number <= z]
        above = [number for number in self.numbers if number >= z]
        return (below[-1] if below else None), (above[0] if above else None)

    def field(self, z: int) -> np.ndarray:
        """The signed distance (rows, columns) in slice z, in mm, float32; positive inside."""
        below, above = self.neighbours(z)
        first = None if below is None else self._distances.get(below)
        second = None if above is None else self._distances.get(above)
        if first is not None and second is not None and below != above:
            assert below is not None and above is not None
            return ((above - z) * first + (z - below) * second) / np.float32(above - below)
        if first is not None:
            assert below is not None
            return first - np.float32(self._step * (z - below))
        if second is not None:
            assert above is not None
            return second - np.float32(self._step * (above - z))
        return np.full(self.shape, self._outside, np.float32)


def signed_distance(mask: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """The distance to the nearest voxel on the other side of the border; negative outside.

    Half a voxel is taken off, so that the border itself has the distance 0.
    """
    padded = np.pad(mask, 1)  # the border of the slice is a border of the object too
    inside = np.asarray(ndimage.distance_transform_edt(padded, spacing))
    outside = np.asarray(ndimage.distance_transform_edt(~padded, spacing))
    half = min(spacing) / 2
    return np.where(padded, inside - half, half - outside)[1:-1, 1:-1].astype(np.float32)
