"""How prompts become masks: what a session asks of a method.

    segment   the prompts of one slice -> that slice's probabilities
    carry     the slices that a person confirmed -> the probabilities of other slices
    suggest   which slice a person should look at next

There are two methods: the networks of a run, and a classical one that needs no training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from invseg_jax.interactive.prompts import Prompt


@dataclass(frozen=True, eq=False)
class SliceVolume:
    """An image as a method sees it: a stack of slices.

    Attributes:
        image: (slices, rows, columns) float32, the intensities of the file.
        spacing: of slices, rows and columns, in mm.
    """

    image: np.ndarray
    spacing: tuple[float, float, float]

    @property
    def slices(self) -> int:
        """How many slices there are."""
        return len(self.image)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of a slice."""
        return self.image.shape[1], self.image.shape[2]


@dataclass(frozen=True, eq=False)
class Carried:
    """What a method found for one slice.

    Attributes:
        index: number of the slice, from 0.
        probabilities: (rows, columns) float32, 0 to 1; a voxel belongs to the object above 0.5.
        quality: the Dice that the method expects of this slice, 0 to 1; NaN: it expects nothing.
    """

    index: int
    probabilities: np.ndarray
    quality: float


class Method(Protocol):
    """Makes masks from prompts; a function of its arguments alone, so a session can be replayed."""

    @property
    def name(self) -> str:
        """What the user is shown: "without a network", or the run's name."""
        ...

    def segment(
        self, volume: SliceVolume, index: int, prompts: Sequence[Prompt], mask: np.ndarray | None
    ) -> np.ndarray:
        """Segments one object in one slice.

        Args:
            volume: the image.
            index: number of the slice.
            prompts: all prompts of this object in this slice, the oldest first; at least one.
            mask: (rows, columns) probabilities of the round before; None in the first round.

        Returns:
            (rows, columns) float32 probabilities.
        """
        ...

    def carry(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        slices: Sequence[int],
        probabilities: np.ndarray,
    ) -> Iterator[Carried]:
        """Carries confirmed slices into others, one at a time.

        Args:
            volume: the image.
            confirmed: the bool masks (rows, columns) that a person confirmed, by slice.
            slices: which slices to make anew; none of them is confirmed.
            probabilities: (slices, rows, columns) float32, as they are now.

        Yields:
            Each of `slices` once, in an order of the method's choice. The caller may stop early.
        """
        ...

    def suggest(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        probabilities: np.ndarray,
        quality: np.ndarray,
    ) -> int | None:
        """The slice that a person should correct next.

        Args:
            volume: the image.
            confirmed: the masks that a person confirmed, by slice; none of them is suggested.
            probabilities: (slices, rows, columns) float32, as they are now.
            quality: (slices,) the expected Dice of each slice; NaN: unknown.

        Returns:
            Its number; None where there is nothing left to correct.
        """
        ...
