"""The random walker with a prior: which of two seeds a walker on the pixels reaches first.

Grady, "Multilabel random walker image segmentation using prior models", CVPR 2005. Neighbours i and
j are joined by a weight that falls with their contrast,

    w(i, j) = exp(-beta (g(i) - g(j))^2) + 1e-6

and the probabilities x solve, at every pixel i that is no seed,

    sum over j of w(i, j) (x(i) - x(j)) + strength(i) (x(i) - prior(i)) = 0

Without seeds the prior decides alone, smoothed along the borders that the image shows.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve


def random_walk(
    image: np.ndarray,
    seeds: np.ndarray,
    prior: np.ndarray,
    strength: np.ndarray,
    *,
    beta: float = 30.0,
) -> np.ndarray:
    """The probability of the object at every pixel.

    Args:
        image: (rows, columns), scaled to a standard deviation of about 1.
        seeds: (rows, columns) of int: 1 the object, -1 not the object, 0 unknown.
        prior: (rows, columns), what is expected of each pixel, 0 to 1.
        strength: (rows, columns), above 0, how much the prior counts; a neighbour of the same
            intensity counts 1.
        beta: how much a contrast keeps the walker back.

    Returns:
        (rows, columns) float64, 0 to 1; exactly 1 and 0 at the seeds.
    """
    result = (seeds > 0).astype(float)
    unknown = np.flatnonzero(seeds.ravel() == 0)
    if not len(unknown):
        return result
    number = np.arange(image.size).reshape(image.shape)
    first = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    second = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    flat = image.ravel().astype(float)
    weight = np.exp(-beta * (flat[first] - flat[second]) ** 2) + 1e-6
    joined = sparse.coo_array(
        (
            np.concatenate([weight, weight]),
            (np.concatenate([first, second]), np.concatenate([second, first])),
        ),
        shape=(image.size, image.size),
    ).tocsr()
    among = joined[unknown]
    pull = strength.ravel()[unknown]
    diagonal = np.asarray(among.sum(axis=1)).ravel() + pull
    matrix = sparse.diags_array(diagonal) - among[:, unknown]
    right = among @ result.ravel() + pull * prior.ravel()[unknown]
    solved = np.asarray(spsolve(matrix.tocsc(), right, permc_spec="MMD_AT_PLUS_A"))
    result.ravel()[unknown] = np.clip(solved, 0, 1)
    return result
