"""A simulated hand: the prompts that a person would draw for a known mask.

Training and evaluation have the true masks, and no person. So prompts are drawn from the masks,
with the inaccuracy of a human hand: a point lands beside its aim, and a line wavers. The same seed
of the random generator draws the same prompts.

`next_click` is the rule of the CVPR 2025 challenge on interactive segmentation, for volumes; the
others draw on one slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric, route_through_array
from skimage.measure import find_contours

from invseg_jax.errors import UserError
from invseg_jax.interactive.prompts import Box, Click, ExtremePoints, Lasso, Point, Scribble


@dataclass(frozen=True)
class Hand:
    """How steadily prompts are drawn.

    Attributes:
        noise: standard deviation of the error of a point, in voxels; 0 hits exactly. Mem3D moves
            extreme points by up to 5 of 512 pixels in training.
        width: of a scribble's stroke, in voxels.
    """

    noise: float = 1.0
    width: float = 2.0

    def extreme_points(self, mask: np.ndarray, rng: np.random.Generator) -> ExtremePoints:
        """The highest, lowest, leftmost and rightmost voxels of a mask.

        Where several voxels are equally high, any one is taken.

        Raises:
            UserError: the mask is empty; so do all other methods.
        """
        inside = _inside(mask)
        points = []
        for axis in (0, 1):
            for extreme in (inside[:, axis].min(), inside[:, axis].max()):
                candidates = inside[inside[:, axis] == extreme]
                points.append(candidates[rng.integers(len(candidates))])
        return ExtremePoints(_points(self._shaken(np.array(points, float), mask.shape, rng)))

    def box(self, mask: np.ndarray, rng: np.random.Generator) -> Box:
        """The smallest rectangle around a mask; each side is drawn with its own error."""
        inside = _inside(mask)
        corners = np.array([inside.min(axis=0), inside.max(axis=0)], float)
        corners = self._shaken(corners, mask.shape, rng)
        return Box(_points(np.sort(corners, axis=0)))

    def lasso(
        self, mask: np.ndarray, rng: np.random.Generator, *, gap: float = 2.0, positive: bool = True
    ) -> Lasso:
        """A curve around a mask's largest part, `gap` voxels outside of it."""
        part = _largest(mask)
        outside = np.pad(~part, int(np.ceil(gap)) + 2, constant_values=True)
        away = ndimage.distance_transform_edt(outside)
        contour = max(find_contours(away, gap + 0.5), key=len)[:-1] - (int(np.ceil(gap)) + 2)
        curve = _resampled(np.concatenate([contour, contour[:1]]), step=3.0)[:-1]
        if len(curve) < 3:
            curve = contour
        wavered = curve + self._waver(len(curve), rng, closed=True)
        return Lasso(_points(_within(wavered, mask.shape)), positive)

    def scribble(
        self, mask: np.ndarray, rng: np.random.Generator, *, positive: bool = True
    ) -> Scribble:
        """A line along the middle of a mask's largest part, from one end to the other.

        The line is the cheapest path between two far points, where a step costs more the nearer it
        is to the border. It wavers by at most half of the distance to the border, so that it stays
        inside of the part.
        """
        part = _largest(mask)
        depth = np.asarray(ndimage.distance_transform_edt(np.pad(part, 1)))[1:-1, 1:-1]
        cost = np.where(part, 1 / np.maximum(depth, 0.5) ** 2, -1.0)
        inside = np.argwhere(part)
        first = inside[rng.choice(len(inside), p=depth[part] / depth[part].sum())]
        start = _farthest(cost, first)
        path, _ = route_through_array(cost, start, _farthest(cost, start))
        path = _resampled(np.array(path, float), step=3.0)
        room = 0.5 * depth[tuple(np.rint(path).astype(int).T)]
        waver = self._waver(len(path), rng)
        length = np.linalg.norm(waver, axis=1)
        waver *= np.minimum(1, room / np.maximum(length, 1e-9))[:, None]
        return Scribble(_points(_within(path + waver, mask.shape)), positive, self.width / 2)

    def click(self, mask: np.ndarray, rng: np.random.Generator, *, positive: bool = True) -> Click:
        """A click near the deepest voxel of a mask's largest part, and inside of the part."""
        part = _largest(mask)
        (point,) = self._shaken(np.array([_deepest(part, rng)], float), mask.shape, rng)
        if not part[tuple(np.rint(point).astype(int))]:
            point = np.array(_deepest(part, rng), float)
        return Click(_points(point[None]), positive)

    def _shaken(
        self, points: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator
    ) -> np.ndarray:
        return _within(points + rng.normal(0, 1, points.shape) * self.noise, shape)

    def _waver(self, count: int, rng: np.random.Generator, closed: bool = False) -> np.ndarray:
        """A smooth error of standard deviation `noise` along a line: (count, 2), in voxels."""
        mode = "wrap" if closed else "reflect"
        rough, sigma = rng.normal(0, 1, (count, 2)), 2.0
        smooth = ndimage.gaussian_filter1d(rough, sigma, axis=0, mode=mode)
        # The filter leaves 1 / (2 sigma sqrt(pi)) of the variance of white noise.
        return smooth * self.noise * np.sqrt(2 * sigma * np.sqrt(np.pi))


def next_click(
    truth: np.ndarray, prediction: np.ndarray, rng: np.random.Generator
) -> tuple[tuple[int, ...], bool] | None:
    """Where the CVPR 2025 challenge clicks next, in a volume or a slice.

    The click lies in the middle of the largest connected error: at the voxel that is farthest from
    the error's border. Of several such voxels, any one is taken. Voxels that share a corner are
    connected.

    Args:
        truth: bool array.
        prediction: bool array of the same shape.
        rng: decides between equally deep voxels.

    Returns:
        The voxel, and whether the click is positive (the truth was missed); None without an error.
    """
    error = np.asarray(truth, bool) != np.asarray(prediction, bool)
    if not error.any():
        return None
    voxel = _deepest(_largest(error), rng)
    return voxel, bool(truth[voxel])


def _inside(mask: np.ndarray) -> np.ndarray:
    inside = np.argwhere(mask)
    if not len(inside):
        raise UserError("a prompt was to be drawn of an empty mask")
    return inside


def _largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask; voxels that share a corner are connected."""
    _inside(mask)
    parts = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, np.ones((3,) * mask.ndim, bool), output=parts)
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def _deepest(part: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    """The voxel of a part that is farthest from its border, or from the border of the array."""
    box = ndimage.find_objects(part.astype(np.uint8))[0]
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(part[box], 1)))
    deepest = np.argwhere(depth >= depth.max() - 1e-9) - 1
    low = [side.start for side in box]
    return tuple(int(v) for v in deepest[rng.integers(len(deepest))] + low)


def _farthest(cost: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The voxel that the cheapest path from `start` reaches at the highest cost."""
    total, _ = MCP_Geometric(cost).find_costs([tuple(start)])
    return np.array(
        np.unravel_index(np.argmax(np.where(np.isfinite(total), total, -1)), cost.shape)
    )


def _resampled(line: np.ndarray, step: float) -> np.ndarray:
    """Points at equal distances of about `step` along a line; its ends stay."""
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0, lengths[-1], max(int(round(lengths[-1] / step)), 1) + 1)
    return np.stack([np.interp(at, lengths, line[:, axis]) for axis in (0, 1)], -1)


def _within(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.clip(points, 0, np.array(shape) - 1)


def _points(values: np.ndarray) -> tuple[Point, ...]:
    return tuple((float(row), float(column)) for row, column in values)
