"""What the two networks see of a slice, in the order of their channels.

    interaction network    a slice between its neighbours, and the channels of the prompts
    memory, asking         a slice between its neighbours, the mask of the slice before, the
                           interpolation between the confirmed slices, how near the confirmed
                           slices on either side are, and where each pixel lies
    memory, kept           a slice between its neighbours, its mask, whether a person confirmed it,
                           and where each pixel lies

Neighbours, and the two sides, are in the order in which the slices are gone through: the same
picture upwards and downwards. Lengths are in units of the window's side.
"""

from __future__ import annotations

import numpy as np

from invseg_jax.interactive import encoding
from invseg_jax.interactive.stack import NEIGHBOURS

INTERACTION = len(NEIGHBOURS) + len(encoding.CHANNELS)
# The channels at the end that say where each pixel lies: its row and its column.
PLACES = 2
# Without the mask of the slice before, which is put behind the image.
ASKING = len(NEIGHBOURS) + 3 + PLACES
QUERY = ASKING + 1
KEPT = len(NEIGHBOURS) + 2 + PLACES
# Distances are cut off at this share of the window's side.
_REACH = 0.1


def asking(
    image: list[np.ndarray], field: np.ndarray, pixel: float, near: float | None, far: float | None
) -> np.ndarray:
    """A slice that asks the memory, without the mask of the slice before.

    Args:
        image: the slice between its neighbours, each (size, size).
        field: the interpolation's signed distance (size, size), in mm.
        pixel: side of a pixel, in mm.
        near: distance in mm to the confirmed slice from which the slices come; None: there is none.
        far: distance in mm to the confirmed slice on the other side.

    Returns:
        float32 (size, size, ASKING).
    """
    size = len(field)
    side = size * pixel
    closeness = [
        np.full_like(field, 0.0 if away is None else np.exp(-away / (0.2 * side)))
        for away in (near, far)
    ]
    prior = np.clip(field / (_REACH * side), -1, 1)
    return np.stack([*image, prior, *closeness, *_places(size)], -1).astype(np.float32)


def kept(image: list[np.ndarray], mask: np.ndarray, confirmed: bool) -> np.ndarray:
    """A slice that is kept in the memory: float32 (size, size, KEPT)."""
    said = np.full_like(mask, float(confirmed), np.float32)
    return np.stack([*image, mask, said, *_places(len(mask))], -1).astype(np.float32)


def interaction(image: list[np.ndarray], prompts: np.ndarray) -> np.ndarray:
    """A slice with its prompts (size, size, 6): float32 (size, size, INTERACTION)."""
    return np.concatenate([np.stack(image, -1), prompts], -1).astype(np.float32)


def _places(size: int) -> list[np.ndarray]:
    at = np.linspace(-1, 1, size, dtype=np.float32)
    return [np.repeat(at[:, None], size, 1), np.repeat(at[None, :], size, 0)]
