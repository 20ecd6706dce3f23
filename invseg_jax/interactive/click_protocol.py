"""The protocol of the CVPR 2025 challenge on interactive segmentation of volumes.

One box, then five clicks, each in the middle of the largest error (`hand.next_click`). The scores
are those of the challenge: the area under the curve of Dice and of surface Dice over the five
clicks by the trapezoidal rule (at most 4), and both after the last click. The tolerance of the
surface Dice is 2 mm; it counts as 0 where the Dice is at most 0.2.

The challenge gives a box on the middle slice and the range of slices that hold the object. Here the
box is drawn on that slice, and the slices next to the range are confirmed as empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from invseg_jax.interactive.hand import Hand, next_click
from invseg_jax.interactive.method import Method
from invseg_jax.interactive.prompts import Click
from invseg_jax.interactive.rounds import Annotation
from invseg_jax.interactive.scores import dice, surface_dice

CLICKS = 5
_LEAST = 0.2


@dataclass(frozen=True)
class ClickScores:
    """Scores of one case.

    Attributes:
        dice: after the box, and after each click.
        surface_dice: the same, at 2 mm.
    """

    dice: tuple[float, ...]
    surface_dice: tuple[float, ...]

    @property
    def summary(self) -> dict[str, float]:
        """The four numbers of the challenge."""
        return {
            "dice_auc": area(self.dice),
            "surface_dice_auc": area(self.surface_dice),
            "dice_final": self.dice[-1],
            "surface_dice_final": self.surface_dice[-1],
        }


def area(scores: tuple[float, ...]) -> float:
    """The area under the curve over the clicks; the box does not count."""
    return float(np.trapezoid(scores[1:]))


def play_clicks(start: Annotation, method: Method, seed: int = 42) -> ClickScores:
    """Plays the box and the clicks.

    Args:
        start: an object of which nothing is marked yet.
        method: segments, and carries.
        seed: of the hand; the challenge takes 42.
    """
    rng, truth = np.random.default_rng(seed), start.truth
    held = np.flatnonzero(truth.any(axis=(1, 2)))
    low, high = int(held[0]), int(held[-1])
    now = start
    for end in (low - 1, high + 1):
        if 0 <= end < len(truth):
            now = now.marked(end, [], method)
    middle = int(held[len(held) // 2])
    now = now.marked(middle, [Hand(noise=0).box(truth[middle], rng)], method)
    found = [_scored(now)]
    drawn: dict[int, list[Click]] = {}
    for _ in range(CLICKS):
        if (click := next_click(truth, now.found, rng)) is not None:
            (index, row, column), positive = click
            drawn.setdefault(index, []).append(Click(((float(row), float(column)),), positive))
            now = now.marked(index, list(drawn[index]), method)
        found.append(_scored(now))
    dices, surfaces = zip(*found, strict=True)
    return ClickScores(dices, surfaces)


def _scored(now: Annotation) -> tuple[float, float]:
    overlap = dice(now.found, now.truth)
    surface = surface_dice(now.found, now.truth, now.volume.spacing)
    return overlap, surface if overlap > _LEAST else 0.0
