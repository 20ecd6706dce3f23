"""Interactive segmentation without a trained network.

segment   marks grow to regions (`growing`), boxes, lassos and extreme points are regions;
a random walker (`random_walker`) then moves the border to the image's edges
carry     signed distances are interpolated (`interpolation`)
suggest   the middle of the largest gap between confirmed slices
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invseg_jax.interactive.drawing import Drawing
from invseg_jax.interactive.interpolation import interpolate
from invseg_jax.interactive.method import Carried, SliceVolume
from invseg_jax.interactive.prompts import Box, Click, Prompt, Scribble
from invseg_jax.interactive.random_walker import random_walk
from invseg_jax.interactive.window import Window

LEAST = 16.0  # mm: the side of the smallest window
SHARE = 0.15  # of the widest window: regions that are larger are less likely, in the first round
CARRIED = 0.9  # the probability of what is carried; less than that of what a person drew
ZOOMS = 3  # how many windows marks grow in at most


@dataclass(frozen=True)
class Classical:
    """A `Method` that needs no training.

    Attributes:
        pixels: along each side of the window that a prompt is worked on in.
        wide: the side of the window around clicks and scribbles, in mm; no object that is marked by
            them can be larger.
        trust: how strongly the random walker keeps to the regions; 1 is as strong as a neighbour
            of the same intensity.
        keep: the same for the mask of the round before.
    """

    pixels: int = 128
    wide: float = 160.0
    trust: float = 0.1
    keep: float = 0.5

    @property
    def name(self) -> str:
        """What the user is shown."""
        return "without a network"

    def segment(
        self, volume: SliceVolume, index: int, prompts: Sequence[Prompt], mask: np.ndarray | None
    ) -> np.ndarray:
        """Segments one object in one slice.

        - The object so far is the mask of the round before, or nothing.
        - A positive box or lasso, and extreme points, are the object where they hold at least half
          of the mask so far, or there is none; else they are added to it.
        - A negative box or lasso is taken away.
        - A click or scribble on a slice that was carried into, and that nobody has looked at, makes
          the object anew from the core of what is there.
        - Another click or scribble that the object so far contradicts grows to a region, which is
          added or taken away.
        - The random walker moves the border to edges of the image nearby.

        Args:
            volume: the image.
            index: number of the slice.
            prompts: of this object in this slice, the oldest first; at least one.
            mask: (rows, columns) probabilities of the round before; None in the first round.

        Returns:
            (rows, columns) float32 probabilities.
        """
        image, spacing = volume.image[index], (volume.spacing[1], volume.spacing[2])
        before = np.zeros(volume.shape, np.float32) if mask is None else np.asarray(mask)
        known = [*prompts, *_box_around(before > 0.5)]
        window = Window.around(known, spacing, self.pixels, least=LEAST)
        drawing = Drawing(window, image, before, prompts)
        if any(isinstance(prompt, Click | Scribble) for prompt in prompts):
            # Marks grow in a wide window, and again in closer ones while the object is small there.
            extent = max(n * length for n, length in zip(volume.shape, spacing, strict=True))
            side = min(self.wide, extent)
            typical = SHARE * side**2 / (spacing[0] * spacing[1])
            for _ in range(ZOOMS):
                wide = Window.around(known, spacing, self.pixels, least=side)
                outline = Drawing(wide, image, before, prompts).outline(typical)
                found = _box_around(wide.paste(outline.prior, volume.shape) > 0.5)
                longest = _longest([*known, *found], spacing)
                if 4 * longest > side:
                    break
                side = max(2 * longest, LEAST)
            window = Window.around([*known, *found], spacing, self.pixels, least=LEAST)
            drawing = Drawing(window, image, before, prompts)
            outline = drawing.closer(outline, wide, volume.shape)
        else:
            outline = drawing.outline(0.0)
        strength = np.where(outline.new, self.trust, self.keep)
        walked = random_walk(drawing.image, outline.seeds, outline.prior, strength)
        result = window.paste(walked, volume.shape, outside=-1.0)
        return np.where(result < 0, 0 if outline.alone else before, result).astype(np.float32)

    def carry(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        slices: Sequence[int],
        probabilities: np.ndarray,
    ) -> Iterator[Carried]:
        """Interpolates the signed distances of the confirmed slices, see `interpolate`.

        Args:
            volume: the image; its intensities do not matter.
            confirmed: the bool masks (rows, columns) that a person confirmed, by slice.
            slices: which slices to make anew.
            probabilities: not used.

        Yields:
            Each of `slices`, in order. The probabilities are 0 and 0.9: where objects overlap, one
            that a person drew comes before one that was carried. The quality is unknown.
        """
        if not confirmed:
            confirmed = {0: np.zeros(volume.shape, bool)}
        found = interpolate(confirmed, volume.slices, volume.spacing)
        for z in slices:
            yield Carried(z, found[z] * np.float32(CARRIED), math.nan)

    def suggest(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        probabilities: np.ndarray,
        quality: np.ndarray,
    ) -> int | None:
        """The slice in the middle of the largest gap.

        A gap is a run of slices that hold the object and are not confirmed. Its size is the way to
        the nearest confirmed slice from where that is farthest: half of a gap between two confirmed
        slices, all of one at an end, where the object is known on one side alone.

        Args:
            volume: the image; its intensities do not matter.
            confirmed: the masks that a person confirmed, by slice.
            probabilities: (slices, rows, columns), as they are now.
            quality: not used.

        Returns:
            Its number; None where every slice that holds the object is confirmed.
        """
        open_slices = [z for z in range(volume.slices) if z not in confirmed]
        holding = [z for z in open_slices if (probabilities[z] > 0.5).any()]
        return middle_of_gap(confirmed, holding)


def middle_of_gap(confirmed: Mapping[int, np.ndarray], holding: Sequence[int]) -> int | None:
    """The middle of the gap that reaches farthest from confirmed slices; the first of equal ones.

    Args:
        confirmed: the confirmed slices.
        holding: the slices that hold the object and are not confirmed, in order.
    """
    known = sorted(confirmed)
    gaps: dict[int, list[int]] = {}
    for z in holding:
        gaps.setdefault(sum(k < z for k in known), []).append(z)
    if not gaps:
        return None

    def size(gap: Sequence[int]) -> float:
        below = max((k for k in known if k < gap[0]), default=None)
        above = min((k for k in known if k > gap[0]), default=None)
        if below is not None and above is not None:
            return (above - below) / 2
        if below is not None:
            return gap[-1] - below
        return len(gap) if above is None else above - gap[0]

    widest = max(gaps.values(), key=size)
    return widest[(len(widest) - 1) // 2]


def _longest(prompts: Sequence[Prompt], spacing: tuple[float, float]) -> float:
    """The longer side of the box around all prompts, in mm."""
    bounds = np.array([prompt.bounds for prompt in prompts])
    sides = bounds[:, 1].max(axis=0) - bounds[:, 0].min(axis=0) + 1
    return float((sides * spacing).max())


def _box_around(mask: np.ndarray) -> list[Box]:
    """The box around a mask; none around an empty one."""
    inside = np.argwhere(mask)
    if not len(inside):
        return []
    low, high = inside.min(axis=0).tolist(), inside.max(axis=0).tolist()
    return [Box(((low[0], low[1]), (high[0], high[1])))]
