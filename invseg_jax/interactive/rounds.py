"""Rounds of annotation, played by a simulated hand that knows the truth.

A round: a slice is chosen, the hand marks the object there (or says that the slice does not hold
it), the method segments that slice, and carries it into the slices that it can reach. Mem3D is
scored so (Zhou et al. 2021, section 3), and so are the choices of the slice:

    predicted   the method's own suggestion
    oracle      the slice with most wrong voxels
    random      any slice that holds the object, or in which the method found it
    even        the slice of the object that is farthest from all confirmed slices

The first slice is in all cases the one in which the object is largest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from invseg_jax.interactive.hand import Hand
from invseg_jax.interactive.interpolation import interpolate
from invseg_jax.interactive.method import Method, SliceVolume
from invseg_jax.interactive.prompts import Prompt

Choice = Literal["predicted", "oracle", "random", "even"]
CHOICES: tuple[Choice, ...] = ("predicted", "oracle", "random", "even")
KINDS = ("extreme_points", "box", "scribble")
ROUNDS = 6


@dataclass(frozen=True, eq=False)
class Annotation:
    """How far the annotation of one object is.

    Attributes:
        volume: the image.
        truth: bool (slices, rows, columns): what the hand knows.
        confirmed: the masks that the hand confirmed, by slice.
        probabilities: (slices, rows, columns) float32.
        quality: (slices,) the expected Dice of each slice; NaN: unknown.
        seconds: that the last round took the method.
    """

    volume: SliceVolume
    truth: np.ndarray
    confirmed: dict[int, np.ndarray] = field(default_factory=dict)
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros(0))
    quality: np.ndarray = field(default_factory=lambda: np.zeros(0))
    seconds: float = 0.0

    @classmethod
    def begin(cls, volume: SliceVolume, truth: np.ndarray) -> Annotation:
        """Nothing is marked yet."""
        return cls(
            volume,
            np.asarray(truth, bool),
            {},
            np.zeros(truth.shape, np.float32),
            np.full(len(truth), np.nan),
        )

    @property
    def found(self) -> np.ndarray:
        """The mask as it is now: bool (slices, rows, columns)."""
        return self.probabilities > 0.5

    @property
    def interpolated(self) -> np.ndarray:
        """What interpolating the confirmed slices alone gives."""
        return interpolate(self.confirmed, len(self.truth), self.volume.spacing)

    def marked(self, index: int, prompts: list[Prompt], method: Method) -> Annotation:
        """After one more round.

        Args:
            index: the slice.
            prompts: what the hand drew there; []: the slice does not hold the object.
            method: segments, and carries.
        """
        begun = time.perf_counter()
        probabilities, quality = self.probabilities.copy(), self.quality.copy()
        if prompts:
            before = probabilities[index] if self.confirmed else None
            probabilities[index] = method.segment(self.volume, index, prompts, before)
        else:
            probabilities[index] = 0
        confirmed = {**self.confirmed, index: probabilities[index] > 0.5}
        reach = reached(sorted(confirmed), index, len(self.truth))
        for carried in method.carry(self.volume, confirmed, reach, probabilities.copy()):
            probabilities[carried.index] = carried.probabilities
            quality[carried.index] = carried.quality
        quality[index] = 1.0
        seconds = time.perf_counter() - begun
        return replace(
            self,
            confirmed=confirmed,
            probabilities=probabilities,
            quality=quality,
            seconds=seconds,
        )

    def choose(self, choice: Choice, method: Method, rng: np.random.Generator) -> int | None:
        """The slice of the next round; None where no slice is left."""
        if not self.confirmed:
            return int(np.argmax(self.truth.sum(axis=(1, 2))))
        free = np.ones(len(self.truth), bool)
        free[list(self.confirmed)] = False
        if choice == "predicted":
            return method.suggest(self.volume, self.confirmed, self.probabilities, self.quality)
        if choice == "oracle":
            wrong = np.where(free, (self.found != self.truth).sum(axis=(1, 2)), -1)
            return int(np.argmax(wrong)) if wrong.max() > 0 else None
        held = self.truth.any(axis=(1, 2))
        if choice == "random":
            held |= self.found.any(axis=(1, 2))
        candidates = np.flatnonzero(held & free)
        if not len(candidates):
            return None
        if choice == "random":
            return int(rng.choice(candidates))
        away = np.abs(candidates[:, None] - np.array(list(self.confirmed))).min(axis=1)
        return int(candidates[np.argmax(away)])


def reached(confirmed: list[int], index: int, slices: int) -> list[int]:
    """The slices that a newly confirmed slice can change: those up to the next confirmed ones.

    Args:
        confirmed: all confirmed slices, in rising order, `index` among them.
        index: the newly confirmed slice.
        slices: how many there are.
    """
    place = confirmed.index(index)
    low = confirmed[place - 1] + 1 if place else 0
    high = confirmed[place + 1] if place + 1 < len(confirmed) else slices
    return [z for z in range(low, high) if z != index]


def play(
    start: Annotation,
    method: Method,
    kind: str,
    choice: Choice,
    seed: int,
    rounds: int = ROUNDS,
) -> Iterator[Annotation]:
    """The annotation after each round.

    Args:
        start: where to begin; rounds that it has had already are not played again.
        method: segments, carries and suggests.
        kind: the prompt that the hand draws, of `KINDS`.
        choice: how the slice of a round is chosen.
        seed: of the hand, and of random slices.
        rounds: how many in all. Where no slice is left, the last annotation stays as it is.
    """
    now, hand = start, Hand()
    for number in range(len(start.confirmed), rounds):
        rng = np.random.default_rng((seed, number))
        index = now.choose(choice, method, rng)
        if index is None:
            now = replace(now, seconds=0.0)
        else:
            held = now.truth[index].any()
            prompts = [getattr(hand, kind)(now.truth[index], rng)] if held else []
            now = now.marked(index, prompts, method)
        yield now
