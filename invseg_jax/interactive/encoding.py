"""Prompts as channels of an image, which is how a network is told of them.

Each kind of prompt has its channel, so that one network takes them all, in any mixture; an absent
kind leaves its channel at 0. All values lie between 0 and 1.

    extreme points   a Gaussian around each point (IoG and Mem3D: one heat map for all four)
    region           1 in positive boxes and lassos (nnInteractive: boxes and lassos share a pair)
    not region       1 in negative lassos and boxes
    mark             1 in discs around positive clicks, and along positive scribbles
    no mark          1 in discs around negative clicks, and along negative scribbles
    mask             the mask of the round before (Mem3D's paper has it as an input, its published
                     code does not)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.draw import line, polygon2mask

from invseg_jax.interactive.prompts import Box, Click, ExtremePoints, Lasso, Prompt, Scribble
from invseg_jax.interactive.window import Window

CHANNELS = ("extreme points", "region", "not region", "mark", "no mark", "mask")


@dataclass(frozen=True)
class Encoding:
    """How prompts are drawn.

    Attributes:
        sigma: of the Gaussian around an extreme point, in pixels of the window. Mem3D has 10 in a
            window of 512 pixels; 3 in one of 128 is nearly the same.
        radius: of the disc around a click, in pixels of the window.
    """

    sigma: float = 3.0
    radius: float = 2.0

    def __call__(
        self, prompts: Sequence[Prompt], window: Window, mask: np.ndarray | None = None
    ) -> np.ndarray:
        """The prompts' channels in a window.

        Args:
            prompts: of one slice and one object; later ones do not hide earlier ones.
            window: the part of the slice that the network sees.
            mask: (rows, columns) of the slice: the mask or the probabilities of the round before;
                None in the first round.

        Returns:
            float32 array (size, size, 6), channels as in `CHANNELS`.
        """
        channels = np.zeros((window.size, window.size, len(CHANNELS)), np.float32)
        for prompt in prompts:
            drawn = self._drawn(prompt, window)
            channel = channels[..., _channel(prompt)]
            np.maximum(channel, drawn, out=channel)
        if mask is not None:
            channels[..., CHANNELS.index("mask")] = window.cut(np.asarray(mask, np.float32))
        return channels

    def _drawn(self, prompt: Prompt, window: Window) -> np.ndarray:
        shape = (window.size, window.size)
        points = window.moved(prompt.points)
        match prompt:
            case ExtremePoints():
                squared = _squared_distances(points, window.size)
                return np.exp(-squared / (2 * self.sigma**2)).max(axis=0)
            case Box():
                low, high = points.min(axis=0) - 0.5, points.max(axis=0) + 0.5
                rows, columns = (
                    (a <= np.arange(window.size)) & (np.arange(window.size) <= b)
                    for a, b in zip(low, high, strict=True)
                )
                return np.logical_and.outer(rows, columns)
            case Lasso():
                return polygon2mask(shape, points)
            case Click():
                return _squared_distances(points, window.size)[0] <= self.radius**2
            case Scribble():
                radius = max(prompt.radius / min(window.step), 0.5)
                return _stroke(points, window.size, radius)
        raise TypeError(f"no channel for a prompt of the class {type(prompt).__name__}")


def _channel(prompt: Prompt) -> int:
    if isinstance(prompt, ExtremePoints):
        name = "extreme points"
    elif isinstance(prompt, Box | Lasso):
        name = "region" if prompt.positive else "not region"
    else:
        name = "mark" if prompt.positive else "no mark"
    return CHANNELS.index(name)


def _squared_distances(points: np.ndarray, size: int) -> np.ndarray:
    """From every pixel to every point: an array (points, size, size)."""
    at = np.arange(size)
    rows = (at - points[:, :1]) ** 2
    columns = (at - points[:, 1:]) ** 2
    return rows[:, :, None] + columns[:, None, :]


def _stroke(points: np.ndarray, size: int, radius: float) -> np.ndarray:
    """Where a line through the points passes within `radius`: a bool array (size, size)."""
    # Drawn with room around it, as a line may come from outside of the window.
    margin = int(np.ceil(radius)) + 1
    canvas = np.ones((size + 2 * margin,) * 2, bool)
    pixels = np.rint(points + margin).astype(int)
    ends = (
        zip(pixels[:-1], pixels[1:], strict=True) if len(pixels) > 1 else [(pixels[0], pixels[0])]
    )
    for start, end in ends:
        rows, columns = line(*start, *end)
        inside = (0 <= rows) & (rows < len(canvas)) & (0 <= columns) & (columns < len(canvas))
        canvas[rows[inside], columns[inside]] = False
    if canvas.all():
        return np.zeros((size, size), bool)  # there is no line to be near to
    near = np.asarray(ndimage.distance_transform_edt(canvas)) <= radius
    return near[margin:-margin, margin:-margin]
