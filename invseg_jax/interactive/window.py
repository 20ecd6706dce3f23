"""The square part of a slice that a network sees, resampled to a fixed number of pixels.

A network looks at the neighbourhood of the prompts alone (Mem3D and IoG crop 50 voxels around
them). So a small object fills the picture, and a large slice costs no more than a small one. The
window is a square in millimetres: voxels that are longer than wide do not distort the object. It
may reach over the border of the slice; there is nothing to see there.

The centre of pixel i of a window lies at `low + (i + 0.5) * step - 0.5`, in voxels of the slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from invseg_jax.errors import UserError
from invseg_jax.interactive.prompts import Box, Point, Prompt


@dataclass(frozen=True)
class Window:
    """A square of a slice, and its resolution.

    Attributes:
        low: the corner of the window's first pixel, (row, column), in voxels of the slice.
        step: the length of a pixel along rows and columns, in voxels of the slice.
        size: pixels along each side.
    """

    low: tuple[float, float]
    step: tuple[float, float]
    size: int

    @classmethod
    def around(
        cls,
        prompts: Sequence[Prompt],
        spacing: tuple[float, float],
        size: int,
        *,
        margin: float = 0.25,
        least: float = 32.0,
    ) -> Window:
        """The window around all points of the prompts.

        Args:
            prompts: at least one.
            spacing: of the slice's rows and columns, in mm.
            size: pixels along each side of the window.
            margin: what is added on every side, as a share of the longer side of the points' box.
            least: the shortest side of a window, in mm: a single click has no size of its own.

        Raises:
            UserError: there is no prompt.
        """
        if not prompts:
            raise UserError("a window needs at least one prompt to lie around")
        scale = np.array(spacing, float)
        bounds = np.array([prompt.bounds for prompt in prompts])
        low, high = bounds[:, 0].min(axis=0), bounds[:, 1].max(axis=0)
        side = max(float(((high - low + 1) * scale).max()) * (1 + 2 * margin), least)
        extent = side / scale
        low = (low + high) / 2 + 0.5 - extent / 2
        return cls(_pair(low), _pair(extent / size), size)

    @classmethod
    def on(
        cls,
        prompts: Sequence[Prompt],
        mask: np.ndarray | None,
        spacing: tuple[float, float],
        size: int,
        *,
        margin: float = 0.25,
    ) -> Window:
        """The window in which the interaction network sees an object.

        Extreme points, and positive boxes and lassos, say how large the object is. Clicks and
        scribbles do not: then the mask of the round before counts too.

        Args:
            prompts: at least one.
            mask: bool (rows, columns) of the round before, or None.
            spacing: of the slice's rows and columns, in mm.
            size: pixels along each side of the window.
            margin: see `around`.

        Raises:
            UserError: there is no prompt.
        """
        if not any(prompt.encloses for prompt in prompts) and mask is not None and mask.any():
            rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
            corners = ((rows[0], columns[0]), (rows[-1], columns[-1]))
            prompts = [*prompts, Box(tuple((float(a), float(b)) for a, b in corners))]
        return cls.around(prompts, spacing, size, margin=margin)

    @classmethod
    def whole(cls, shape: tuple[int, int], spacing: tuple[float, float], size: int) -> Window:
        """The smallest window that holds a whole slice."""
        extent = (np.array(shape) * spacing).max() / np.array(spacing)
        return cls(_pair(np.array(shape) / 2 - extent / 2), _pair(extent / size), size)

    def grown(self, factor: float) -> Window:
        """The window with the same centre and pixels, of `factor` times the side."""
        low, step = np.array(self.low), np.array(self.step)
        centre = low + step * self.size / 2
        return replace(
            self, low=_pair(centre - step * self.size * factor / 2), step=_pair(step * factor)
        )

    def moved(self, points: Sequence[Point]) -> np.ndarray:
        """Points of the slice in pixels of the window: an array (points, 2)."""
        return (np.array(points, float) + 0.5 - self.low) / self.step - 0.5

    def cut(self, image: np.ndarray, *, order: int = 1, outside: float = 0.0) -> np.ndarray:
        """The slice as the window shows it.

        Where a pixel is longer than a voxel, the slice is smoothed first, so that no detail between
        two pixels turns up as a false one.

        Args:
            image: (rows, columns) or (rows, columns, channels).
            order: 1 for images, 0 for masks (the nearest voxel, without smoothing).
            outside: the value beyond the slice's border.

        Returns:
            float32 array (size, size) or (size, size, channels); with order 0, of the image's type.
        """
        if image.ndim == 3:
            parts = [
                self.cut(part, order=order, outside=outside) for part in np.moveaxis(image, -1, 0)
            ]
            return np.stack(parts, -1)
        at = [
            low + (np.arange(self.size) + 0.5) * step - 0.5
            for low, step in zip(self.low, self.step, strict=True)
        ]
        within = [(-0.5 <= a) & (a < n - 0.5) for a, n in zip(at, image.shape, strict=True)]
        sigma = [0.5 * np.sqrt(max(step**2 - 1, 0)) if order else 0.0 for step in self.step]
        # What the window does not reach, not even through the filter, is left away.
        reach = [int(4 * s) + 2 for s in sigma]
        start = [
            min(max(int(a[0]) - r, 0), n - 1)
            for a, r, n in zip(at, reach, image.shape, strict=True)
        ]
        stop = [max(int(a[-1]) + r + 2, s + 1) for a, r, s in zip(at, reach, start, strict=True)]
        image = image[start[0] : stop[0], start[1] : stop[1]]
        if order:
            image = np.asarray(image, np.float32)
            if any(sigma):
                image = ndimage.gaussian_filter(image, sigma, mode="nearest")
        rows, columns = np.meshgrid(*(a - s for a, s in zip(at, start, strict=True)), indexing="ij")
        values = ndimage.map_coordinates(image, (rows, columns), order=order, mode="nearest")
        return np.where(np.logical_and.outer(*within), values, np.asarray(outside, values.dtype))

    def paste(self, values: np.ndarray, shape: tuple[int, int], outside: float = 0.0) -> np.ndarray:
        """What the window shows, on the slice's own grid: `cut` the other way round.

        Args:
            values: (size, size), for instance probabilities.
            shape: of the slice, (rows, columns).
            outside: the value of the slice's voxels that the window does not hold.

        Returns:
            float32 array of the slice's shape, interpolated linearly.
        """
        at = [
            (np.arange(n) + 0.5 - low) / step - 0.5
            for n, low, step in zip(shape, self.low, self.step, strict=True)
        ]
        pasted = np.full(shape, outside, np.float32)
        within = [np.flatnonzero((-0.5 <= a) & (a < self.size - 0.5)) for a in at]
        if all(len(inside) for inside in within):
            places = np.meshgrid(*(a[w] for a, w in zip(at, within, strict=True)), indexing="ij")
            pasted[np.ix_(*within)] = ndimage.map_coordinates(
                np.asarray(values, np.float32), places, order=1, mode="nearest"
            )
        return pasted


def _pair(values: np.ndarray) -> tuple[float, float]:
    return float(values[0]), float(values[1])
