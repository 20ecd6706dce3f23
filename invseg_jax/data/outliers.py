"""Voxels so extreme that they alone make up the contrast of an image.

One voxel of 3e38 among ordinary ones: after normalisation all the others are equal to each other.
"""

from __future__ import annotations

import numpy as np

from invseg_jax.data.resampling import Triple

# The share of the variance that outliers make up, all of them together.
SHARE = 0.99
# As many voxels can be outliers, and but for a single one no more than one in a thousand: more of
# them may be a real structure.
MOST, ONE_IN = 8, 1000
# Of a larger image, some voxels decide in nearly all cases.
_SAMPLED = 1 << 14


def outliers(channel: np.ndarray, minimum: float, maximum: float) -> list[Triple]:
    """The few voxels that make up `SHARE` of the variance of a channel.

    Args:
        channel: (D, H, W), real and finite.
        minimum: its smallest value.
        maximum: its largest value.

    Returns:
        Their indices, the most extreme one first; empty where there are none.
    """
    # The axes in the order in which they lie in memory: the voxels in a row are then a view.
    order = np.argsort(channel.strides)[::-1]
    flat = channel.transpose(order).reshape(-1)
    most = min(MOST, max(1, flat.size // ONE_IN))
    # A part of the voxels, about their own mean, cannot have more squares than all of them have:
    # where even that is too much for outliers, as in nearly all images, it is decided.
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
