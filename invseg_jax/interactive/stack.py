"""A prepared case as a stack of slices, and what a network sees of one slice.

The slices lie across the axis along which voxels are longest: a person looks at them where the
image is sharpest. Of axes alike the last one is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invseg_jax.data.prepare.cached_case import CachedCase

# Slices beside the one that is segmented: one on each side.
NEIGHBOURS = (-1, 0, 1)


def slice_axis(spacing: tuple[float, ...]) -> int:
    """The axis across which slices lie, of the spacings of three axes in mm."""
    longest = max(spacing)
    return max(axis for axis, length in enumerate(spacing) if length >= 0.999 * longest)


@dataclass(frozen=True, eq=False)
class Stack:
    """A labelled case, slices first.

    Attributes:
        id: the case's name.
        image: (slices, rows, columns) float32, normalised.
        label: (slices, rows, columns) class indices.
        spacing: of slices, rows and columns, in mm.
        areas: (classes - 1, slices): voxels of each foreground class in each slice.
    """

    id: str
    image: np.ndarray
    label: np.ndarray
    spacing: tuple[float, float, float]
    areas: np.ndarray

    @classmethod
    def of(cls, case: CachedCase, spacing: tuple[float, float, float]) -> Stack:
        """The stack of a prepared case that has a label map.

        Args:
            case: its first modality is the image.
            spacing: of the case's axes, in mm.
        """
        axis, label = slice_axis(spacing), case.label
        assert label is not None
        rest = [length for i, length in enumerate(spacing) if i != axis]
        label = np.moveaxis(label, axis, 0)
        areas = [
            [np.count_nonzero(plane == index) for plane in label]
            for index in range(1, case.classes)
        ]
        image = np.moveaxis(case.image[..., 0], axis, 0)
        return cls(case.id, image, label, (spacing[axis], rest[0], rest[1]), np.array(areas))

    @property
    def objects(self) -> list[int]:
        """The foreground classes that the case holds."""
        return [1 + int(i) for i in np.flatnonzero(self.areas.sum(axis=1))]


def neighbours(image: np.ndarray, index: int, direction: int = 1) -> list[np.ndarray]:
    """A slice between its neighbours; where there is none, the slice itself is repeated.

    Args:
        image: (slices, rows, columns).
        index: number of the slice.
        direction: 1: from the lower to the higher neighbour; -1: the other way round.
    """
    at = [index + direction * step for step in NEIGHBOURS]
    return [image[min(max(i, 0), len(image) - 1)] for i in at]
