"""A piece of a slice, turned, mirrored and bent: what training shows instead of the slice itself.

The same frame is laid on several slices of a volume, so that they still fit to each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from invseg_jax.interactive.window import Window


@dataclass(frozen=True, eq=False)
class Frame:
    """Where the pixels of a piece lie in a slice.

    Attributes:
        at: (2, rows, columns) float32: the row and the column of each pixel, in voxels.
        pixel: side of a pixel, in mm.
        step: side of a pixel along rows and columns, in voxels: images are smoothed where it is
            above 1.
    """

    at: np.ndarray
    pixel: float
    step: tuple[float, float]

    @classmethod
    def around(
        cls,
        low: np.ndarray,
        high: np.ndarray,
        spacing: tuple[float, float],
        rng: np.random.Generator,
        *,
        most: int = 256,
        bend: float = 0.03,
        turned: bool = True,
    ) -> Frame:
        """A frame of three times a box's longer side, around the box.

        Args:
            low: the box's first row and column.
            high: its last row and column.
            spacing: of rows and columns, in mm.
            rng: draws angle, mirroring and bending.
            most: most pixels along a side.
            bend: standard deviation of the bending, as a share of the box's longer side.
            turned: whether to turn by any angle and to bend, or to mirror and exchange the axes
                alone, which interpolates nothing.
        """
        scale = np.array(spacing)
        box = float(((high - low + 1) * scale).max())
        side = 3 * max(box, 10 * scale.max())
        pixel = max(float(scale.min()), side / most)
        size = max(int(np.ceil(side / pixel)), 16)
        offsets = (np.arange(size) - (size - 1) / 2) * pixel
        rows, columns = np.meshgrid(offsets, offsets, indexing="ij")
        if rng.random() < 0.5:
            rows, columns = columns, rows
        rows, columns = rows * rng.choice((-1, 1)), columns * rng.choice((-1, 1))
        if turned:
            angle, stretch = rng.uniform(-np.pi / 6, np.pi / 6), np.exp(rng.normal() * 0.08)
            cos, sin = np.cos(angle), np.sin(angle)
            rows, columns = (cos * rows - sin * columns) * stretch, sin * rows + cos * columns
            rows = rows + bend * box * _smooth(rng, size)
            columns = columns + bend * box * _smooth(rng, size)
        centre = (low + high) / 2
        at = np.stack([rows / scale[0] + centre[0], columns / scale[1] + centre[1]])
        return cls(at.astype(np.float32), pixel, (pixel / spacing[0], pixel / spacing[1]))

    def through(self, window: Window) -> Frame:
        """The part of the frame that a window on it shows."""
        places = [
            low + (np.arange(window.size) + 0.5) * step - 0.5
            for low, step in zip(window.low, window.step, strict=True)
        ]
        grid = np.meshgrid(*places, indexing="ij")
        # Beyond the frame the places are continued, as the outermost pixels of the frame suggest.
        at = np.stack([_continued(part, places, grid) for part in self.at])
        factor = float(window.step[0])
        return Frame(
            at.astype(np.float32),
            self.pixel * factor,
            (self.step[0] * factor, self.step[1] * factor),
        )

    def image(self, plane: np.ndarray) -> np.ndarray:
        """A slice (rows, columns) as the frame shows it; 0 beyond its border."""
        plane = np.asarray(plane, np.float32)
        sigma = [0.5 * np.sqrt(max(step**2 - 1, 0)) for step in self.step]
        if max(sigma) > 0.3:
            plane = np.asarray(ndimage.gaussian_filter(plane, sigma, mode="nearest"))
        shown = np.asarray(ndimage.map_coordinates(plane, self.at, order=1, mode="nearest"))
        return np.where(self.inside(plane.shape), shown, np.float32(0))

    def mask(self, plane: np.ndarray) -> np.ndarray:
        """A bool slice as the frame shows it."""
        values = ndimage.map_coordinates(plane.astype(np.float32), self.at, order=1, cval=0.0)
        return np.asarray(values) > 0.5

    def inside(self, shape: tuple[int, ...]) -> np.ndarray:
        """Which pixels lie in a slice of a shape."""
        (rows, columns), (height, width) = self.at, shape
        return (rows > -0.5) & (rows < height - 0.5) & (columns > -0.5) & (columns < width - 0.5)


def _continued(
    part: np.ndarray, places: list[np.ndarray], grid: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Values of a grid at places, linearly, and beyond its border with the mean slope."""
    found = np.asarray(ndimage.map_coordinates(part, grid, order=1, mode="nearest"))
    for axis, at in enumerate(places):
        beyond = at - np.clip(at, 0, part.shape[axis] - 1)
        slope = float(np.mean(np.diff(part, axis=axis)))
        found = found + np.expand_dims(beyond * slope, 1 - axis)
    return found


def _smooth(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth random field (size, size) of about unit deviation."""
    rough = rng.normal(size=(6, 6))
    at = np.linspace(1, 4, size)
    return np.asarray(ndimage.map_coordinates(rough, np.meshgrid(at, at, indexing="ij"), order=3))
