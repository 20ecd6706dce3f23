"""A method that is quick and easy to predict, and an image to go with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from invseg_jax.interactive.method import Carried, SliceVolume
from invseg_jax.interactive.prompts import Click, Prompt

RADIUS = 3.0


class Toy:
    """Each point adds a disc, or takes one away; other slices repeat the nearest confirmed one."""

    name = "toy"

    def __init__(self) -> None:
        self.carried: list[tuple[int, ...]] = []

    def segment(
        self, volume: SliceVolume, index: int, prompts: Sequence[Prompt], mask: np.ndarray | None
    ) -> np.ndarray:
        found = np.zeros(volume.shape, np.float32) if mask is None else mask.copy()
        for prompt in prompts:
            for point in prompt.points:
                found[disc(point, volume.shape)] = 0.9 if prompt.positive else 0.0
        return found

    def carry(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        slices: Sequence[int],
        probabilities: np.ndarray,
    ) -> Iterator[Carried]:
        self.carried.append(tuple(slices))
        for z in sorted(slices, reverse=True):
            nearest = min(confirmed, key=lambda k: (abs(k - z), k))
            fade = 1 / (1 + 0.1 * abs(nearest - z))
            yield Carried(z, np.float32(0.8 * fade) * confirmed[nearest], fade)

    def suggest(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        probabilities: np.ndarray,
        quality: np.ndarray,
    ) -> int | None:
        unknown = np.where(np.isnan(quality), 0, quality)
        return None if (unknown == 1).all() else int(unknown.argmin())


def disc(point: tuple[float, float], shape: tuple[int, int]) -> np.ndarray:
    """The voxels within `RADIUS` of a point."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (rows - point[0]) ** 2 + (columns - point[1]) ** 2 <= RADIUS**2


def click(row: float, column: float, positive: bool = True) -> Click:
    return Click(((row, column),), positive)


def noise(shape: tuple[int, int, int] = (9, 16, 14), seed: int = 0) -> SliceVolume:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return SliceVolume(values, (3.0, 1.0, 1.0))
