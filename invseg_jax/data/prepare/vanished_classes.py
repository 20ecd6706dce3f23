"""Classes that a label map has in its file and not on the network's grid.

On a coarser grid a small structure can lose all its voxels, and a crop can cut it off. Nothing is
then left to train on, and nothing else would say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from invseg_jax.data.layouts.case import Dataset
from invseg_jax.errors import UserError
from invseg_jax.experiment import Preprocessing

if TYPE_CHECKING:
    from invseg_jax.data.prepare.cached_case import CachedCase


def vanished_classes(before: np.ndarray, after: np.ndarray, classes: int) -> list[int]:
    """The classes, besides the background, that are in one label map and not in another.

    Args:
        before: (D, H, W) uint8 class indices on the file's grid, as far as they are annotated.
        after: the same on the network's grid.
        classes: how many there are, with the background.
    """
    counts = [np.bincount(label.reshape(-1), minlength=256) for label in (before, after)]
    return [index for index in range(1, classes) if counts[0][index] and not counts[1][index]]


def tell_vanished(
    training: Sequence[CachedCase],
    held_out: Sequence[CachedCase],
    dataset: Dataset,
    settings: Preprocessing,
    say: Callable[[str], None],
) -> None:
    """Tells for each case which classes have vanished from it.

    Args:
        training: the prepared cases to train on.
        held_out: the prepared cases to score.
        dataset: of the cases.
        settings: how they were prepared.
        say: told in one line of each case that has lost a class.

    Raises:
        UserError: all training cases that have a class have lost it.
    """
    grid = _grid(settings)
    lost: set[int] = set()
    for cases in (training, held_out):
        for case in cases:
            if vanished := case.vanished:
                names = ", ".join(dataset.classes[index] for index in vanished)
                say(f"case {case.id}: no voxel of {names} is left on the network's grid ({grid})")
                lost |= set(vanished) if cases is training else set()
    for index in sorted(lost):
        if not any(len(case.foreground(index)) for case in training):
            raise UserError(
                f"class {dataset.classes[index]}: no training case has a voxel of this class left "
                f"on the network's grid ({grid}); take a finer config.data.preprocess.spacing, or "
                "no crop, or leave the class out"
            )


def _grid(settings: Preprocessing) -> str:
    """The settings that change the grid, as a configuration has them."""
    parts = []
    if settings.spacing is not None:
        parts.append(f"spacing={settings.spacing}, labels={settings.labels!r}")
    if settings.crop:
        parts.append(f"crop=True, margin={settings.margin}")
    return f"config.data.preprocess: {', '.join(parts)}"
