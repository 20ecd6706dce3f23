"""Masks as a network would give them: a true mask whose border is worn.

Training needs masks of the quality that propagation and the interaction network give, without
running them: the border is moved in and out by smooth random waves.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from invseg_jax.interactive.interpolation import signed_distance


def worn(mask: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """A signed distance whose sign is a worn mask.

    Args:
        mask: bool (rows, columns).
        rng: draws the waves.
        amount: how far the border moves, as a share of the radius of a disc as large as the mask:
            standard deviation of the waves, and of a shift of the whole border as well by half of
            it. 0.05 gives a Dice of about 0.95.

    Returns:
        float32 (rows, columns), in pixels, positive inside; all negative for an empty mask.
    """
    area = np.count_nonzero(mask)
    if not area:
        return np.full(mask.shape, -float(sum(mask.shape)), np.float32)
    radius = float(np.sqrt(area / np.pi))
    distance = signed_distance(mask, (1.0, 1.0))
    # Drawn on a coarse grid: waves are longer than its pixels.
    wave = max(rng.uniform(0.2, 0.7) * radius, 1.0)
    shape = [int(np.ceil(n / wave)) + 3 for n in mask.shape]
    rough = rng.normal(size=shape).astype(np.float32)
    at = [np.arange(n) / wave + rng.uniform() for n in mask.shape]
    waves = ndimage.map_coordinates(rough, np.meshgrid(*at, indexing="ij"), order=1)
    return distance + amount * radius * np.float32(1) * (1.4 * waves + rng.normal() / 2)
