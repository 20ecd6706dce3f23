"""How far a mark reaches: the region around it whose border shows best in the image.

A click or a scribble says where the object is, and not where it ends. So the region grows from the
mark along paths of little contrast (a geodesic distance), and of all the sizes that it goes
through, one is taken: the one with the largest mean step of intensity across its border, where
small regions are preferred to those that fill the picture.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric

# These were chosen for clicks and scribbles on 37 soft-tissue sarcomas (MR, T1).
SMOOTH = 2.0  # pixels; of the image that a path goes through
EDGE = 2.0  # pixels; of the image that the border is looked for in
ROUND = 0.05  # what each pixel of distance adds: it keeps regions round
SIZES = 64  # how many sizes are compared


def grown(
    image: np.ndarray, mark: np.ndarray, against: np.ndarray, within: np.ndarray, typical: float
) -> np.ndarray:
    """The region around a mark.

    Args:
        image: (rows, columns), scaled to a standard deviation of about 1.
        mark: bool (rows, columns), where the region starts; at least one pixel.
        against: bool (rows, columns), marks that say the contrary: the region ends half of the way
            to them.
        within: bool (rows, columns), what the region may take besides the mark.
        typical: a region of this many pixels counts 1 / e as much as a small one.

    Returns:
        bool (rows, columns); holds the mark.
    """
    smooth = ndimage.gaussian_filter(image, SMOOTH)
    marked = smooth[mark]
    unlike = np.abs(smooth - np.median(marked)) / np.clip(marked.std(), 0.5, 2.0)
    cost = 0.4 + np.minimum(unlike, 10.0) + ndimage.gaussian_gradient_magnitude(image, 1.0)
    distance = _distance(np.where(within | mark, cost, -1.0), mark)
    distance += ROUND * np.asarray(ndimage.distance_transform_edt(~mark))
    if against.any():
        distance[distance >= _distance(cost, against)] = np.inf
        distance[mark] = 0
    reached = np.sort(distance[np.isfinite(distance)])
    levels = np.unique(np.quantile(reached, np.linspace(0, 1, SIZES + 1)[1:]))
    sizes = np.searchsorted(reached, levels, side="right")
    steps = np.abs(_mean_steps(ndimage.gaussian_filter(image, EDGE), distance, levels))
    score = steps * np.exp(-sizes / typical)
    return distance <= levels[np.argmax(score)]


def _distance(cost: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The cost of the cheapest path to every pixel; infinite where there is none."""
    return MCP_Geometric(cost).find_costs(np.argwhere(starts))[0]


def _mean_steps(image: np.ndarray, distance: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The mean step outwards across the border of each region `distance <= level`.

    Two neighbours lie on the border of all regions that hold only the nearer one.
    """
    total, count = np.zeros(len(levels) + 1), np.zeros(len(levels) + 1)
    for first, second, step in (
        (distance[:-1], distance[1:], np.diff(image, axis=0)),
        (distance[:, :-1], distance[:, 1:], np.diff(image, axis=1)),
    ):
        outwards = np.where(second > first, step, -step).ravel()
        begins = np.searchsorted(levels, np.minimum(first, second).ravel())
        ends = np.searchsorted(levels, np.maximum(first, second).ravel())
        for sums, what in ((total, outwards), (count, np.ones(outwards.size))):
            sums += np.bincount(begins, what, len(sums)) - np.bincount(ends, what, len(sums))
    return (np.cumsum(total) / np.maximum(np.cumsum(count), 1))[:-1]
