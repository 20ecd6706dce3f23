"""What the prompts of a slice say of an object without a trained network: a rough outline.

The outline is a prior for the random walker, which moves the border to edges of the image nearby.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from invseg_jax.interactive.encoding import Encoding
from invseg_jax.interactive.growing import grown
from invseg_jax.interactive.prompts import Click, Lasso, Prompt, Scribble
from invseg_jax.interactive.window import Window

CORRECTED = 0.25  # of the object: corrections that are larger are less likely
CORE = 0.3  # of the greatest depth: where the core of a carried mask begins
SOFT = 4.0  # pixels; over which the prior goes from 0.5 to 1
GAP = 3.0  # voxels; the same within a lasso, at least
ROUND = 0.1  # of the radius: over which the prior of a box falls around the ellipse in it
NOISE = 0.7  # pixels; of the smoothing against noise


@dataclass(frozen=True)
class Outline:
    """What is expected of each pixel of a window.

    Attributes:
        prior: (size, size), 0 to 1: the object that is expected.
        new: bool (size, size), where the prompts say other than the mask before.
        seeds: (size, size) int: 1 surely the object, -1 surely not, 0 unknown.
        alone: whether there is nothing of the object outside of the window.
    """

    prior: np.ndarray
    new: np.ndarray
    seeds: np.ndarray
    alone: bool


class Drawing:
    """The prompts of a slice in a window."""

    def __init__(
        self, window: Window, image: np.ndarray, before: np.ndarray, prompts: Sequence[Prompt]
    ) -> None:
        """Cuts the window out.

        Args:
            window: where.
            image: (rows, columns) of the slice.
            before: (rows, columns), the probabilities of the round before; 0 in the first round.
                Below 1 everywhere, they were carried, and nobody has looked at them.
            prompts: of the slice, the oldest first.
        """
        shown = window.cut(np.ones(image.shape, np.float32), order=0) > 0
        cut = window.cut(image)
        values = np.asarray(cut[shown] if shown.any() else cut.ravel(), float)
        middle, spread = float(np.median(values)), float(values.std())
        scaled = np.where(shown, (cut - middle) / (spread or 1.0), 0)
        self.image = np.asarray(ndimage.gaussian_filter(scaled, NOISE))
        self._window, self._shown, self._prompts = window, shown, prompts
        self._scaled, self._before = scaled, window.cut(before)
        self._empty = not (before > 0.5).any()
        self._guess = len(prompts) == 1 and prompts[0].positive and float(before.max()) < 1

    def outline(self, typical: float) -> Outline:
        """Draws all prompts; marks grow to regions.

        Args:
            typical: area in voxels; regions that are larger are less likely, in the first round.
        """
        prior, new = self._before.astype(float), np.full(self.image.shape, self._empty)
        marks, areas, alone = self._marks(), self._areas(positive=True), self._empty
        if areas:
            expected = np.max([expected for expected, _ in areas], axis=0)
            taken = np.any([taken for _, taken in areas], axis=0)
            was = prior > 0.5
            alone = self._empty or 2 * int((was & taken).sum()) >= int(was.sum())
            prior = expected if alone else np.maximum(prior, expected)
            new |= alone | taken
        for _, taken in self._areas(positive=False):
            prior, new = np.where(taken, 0, prior), new | taken
        was = int((prior > 0.5).sum())
        pixels = typical / float(np.prod(self._window.step))
        if was and self._guess and marks:
            # Nobody has looked at the mask before: only its core is believed.
            depth = np.asarray(ndimage.distance_transform_edt(prior > 0.5))
            core, nowhere = marks[0][0] | (depth > CORE * depth.max()), np.zeros_like(self._shown)
            region = grown(self._scaled, core, nowhere, self._shown, pixels + was)
            prior = np.clip(0.5 + _signed_distance(region) / SOFT, 0, 1)
            return Outline(prior, np.ones_like(new), self._seeds(alone), alone)
        pixels = CORRECTED * was if was else pixels
        for mark, positive in marks:
            wrong = (prior <= 0.5) if positive else (prior > 0.5)
            if 2 * int((mark & wrong).sum()) > int(mark.sum()):
                others = [other for other, other_positive in marks if other_positive != positive]
                against = np.any([np.zeros_like(mark), *others], axis=0) & ~mark
                region = grown(self._scaled, mark, against, wrong & self._shown, pixels)
                soft = np.clip(0.5 + _signed_distance(region) / SOFT, 0, 1)
                prior = np.maximum(prior, soft) if positive else np.minimum(prior, 1 - soft)
                new |= soft > 0
        return Outline(prior, new, self._seeds(alone), alone)

    def closer(self, outline: Outline, window: Window, shape: tuple[int, int]) -> Outline:
        """An outline of another window in this one; the seeds are drawn anew.

        Args:
            outline: in the other window.
            window: that one.
            shape: of the slice, (rows, columns).
        """
        prior = self._window.cut(window.paste(outline.prior, shape)).astype(float)
        new = np.ones(prior.shape, bool)
        if not outline.new.all():  # to paste a window takes most of the time of a large slice
            new = self._window.cut(window.paste(outline.new, shape)) > 0.5
        return Outline(prior, new, self._seeds(outline.alone), outline.alone)

    def _seeds(self, alone: bool) -> np.ndarray:
        """What the prompts leave no doubt of."""
        seeds, marks = np.zeros(self.image.shape, np.int8), self._marks()
        if alone and (areas := self._areas(positive=True)):
            taken = np.any([taken for _, taken in areas], axis=0)
            if not any((mark & ~taken).any() for mark, positive in marks if positive):
                seeds[~taken] = -1
        for _, taken in self._areas(positive=False):
            seeds[taken] = -1
        for mark, positive in marks:
            seeds[mark] = 1 if positive else -1
        return seeds

    def _marks(self) -> list[tuple[np.ndarray, bool]]:
        """The pixels of each click and scribble that the window shows, and whether positive."""
        marks = [(self._mark(p), p.positive) for p in self._prompts if _is_mark(p)]
        return [(mark, positive) for mark, positive in marks if mark.any()]

    def _areas(self, *, positive: bool) -> list[tuple[np.ndarray, np.ndarray]]:
        """What is expected in each box, lasso and extreme points, and which pixels it holds."""
        drawn = [p for p in self._prompts if not _is_mark(p) and p.positive == positive]
        return [self._area(prompt) for prompt in drawn]

    def _mark(self, prompt: Prompt) -> np.ndarray:
        """The pixels of a click or scribble."""
        return Encoding()([prompt], self._window)[..., 3:5].max(axis=-1) > 0

    def _area(self, prompt: Prompt) -> tuple[np.ndarray, np.ndarray]:
        """What is expected of an area's pixels, and which pixels it holds."""
        if isinstance(prompt, Lasso):
            taken = Encoding()([prompt], self._window)[..., 1:3].max(axis=-1) > 0
            # A lasso is drawn a little outside of the object: some voxels, some pixels.
            soft = max(SOFT, GAP / min(self._window.step))
            depth = np.asarray(ndimage.distance_transform_edt(np.pad(taken, 1)))[1:-1, 1:-1]
            return np.clip(depth / soft, 0, 1), taken
        points = self._window.moved(prompt.points)
        low, high = points.min(axis=0) - 0.5, points.max(axis=0) + 0.5
        at = np.arange(self._window.size)
        parts = [(at - (a + b) / 2) / ((b - a) / 2) for a, b in zip(low, high, strict=True)]
        taken = np.logical_and.outer(*(np.abs(part) <= 1 for part in parts))
        radius = np.sqrt(np.add.outer(parts[0] ** 2, parts[1] ** 2))
        return 1 / (1 + np.exp((np.minimum(radius, 5) - 1) / ROUND)), taken


def _is_mark(prompt: Prompt) -> bool:
    return isinstance(prompt, Click | Scribble)


def _signed_distance(region: np.ndarray) -> np.ndarray:
    """To the border, in pixels; positive inside."""
    if region.all():
        return np.full(region.shape, np.inf)
    inside = np.asarray(ndimage.distance_transform_edt(region))
    return np.where(region, inside - 0.5, 0.5 - np.asarray(ndimage.distance_transform_edt(~region)))
