"""Voxels so extreme that they alone make up the contrast of an image.

With one voxel of 3e38 among ordinary values, all other voxels are equal after normalisation.
"""

from __future__ import annotations

import numpy as np

from invseg_jax.data.prepare.resampling import Triple

# The share of the variance that outliers make up, all of them together.
SHARE = 0.99
# At most so many voxels are outliers, and at most one in a thousand, but one in any image: more of
# them may be a real structure.
MOST, ONE_IN = 8, 1000
# In a larger image, a sample of so many voxels decides in nearly all cases.
_SAMPLED = 1 << 14


def outliers(channel: np.ndarray, minimum: float, maximum: float) -> list[Triple]:
    """The few voxels that make up `SHARE` of the variance of a channel.

    Args:
        channel: (D, H, W), real and finite.
        minimum: its smallest value.
        maximum: its largest value.

    Returns:
        Their indices, the most extreme voxel first; empty where there are no outliers.
    """
    # With the axes in their order in memory, the flat array is a view and no copy.
    order = np.argsort(channel.strides)[::-1]
    flat = channel.transpose(order).reshape(-1)
    most = min(MOST, max(1, flat.size // ONE_IN))
    # The squared deviations of a sample from its own mean are a lower bound of those of the whole
    # image. Nearly always the bound alone shows that so few voxels cannot make up the variance.
    part = flat[:: max(1, flat.size // _SAMPLED)].astype(np.float64)
    widest = (maximum - minimum) ** 2
    if most * widest < SHARE * part.size * part.var():
        return []
    squares = (flat - flat.mean(dtype=np.float64)) ** 2
    total = squares.sum()
    if not total:
        return []
    largest = np.argpartition(squares, -most)[-most:]
    largest = largest[np.argsort(squares[largest])[::-1]]
    enough = np.flatnonzero(np.cumsum(squares[largest]) >= SHARE * total)
    if not enough.size:
        return []
    found = np.unravel_index(largest[: enough[0] + 1], [channel.shape[axis] for axis in order])
    places = np.stack(found, axis=-1)[:, np.argsort(order)]
    return [(d, h, w) for d, h, w in places.tolist()]
