"""Scores of a mask, and of a network that judges its own masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

BINS = 10


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two bool arrays; 1 where both are empty."""
    total = np.count_nonzero(found) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(found & truth) / total if total else 1.0


def surface_dice(
    found: np.ndarray, truth: np.ndarray, spacing: tuple[float, ...], tolerance: float = 2.0
) -> float:
    """The share of both surfaces that lies near the other one (Nikolov et al. 2018).

    The surface of a mask is its voxels that have a face in common with a voxel outside.

    Args:
        found: bool array.
        truth: of the same shape.
        spacing: of its axes, in mm.
        tolerance: how near counts, in mm.

    Returns:
        0 to 1; 1 where both are empty.
    """
    if not (found.any() and truth.any()):
        return float(found.any() == truth.any())
    box = ndimage.find_objects((found | truth).astype(np.uint8))[0]
    surfaces = [_surface(mask[box]) for mask in (found, truth)]
    near = total = 0
    for one, other in (surfaces, surfaces[::-1]):
        away = np.asarray(ndimage.distance_transform_edt(~other, spacing))
        near += np.count_nonzero(away[one] <= tolerance)
        total += np.count_nonzero(one)
    return near / total


def _surface(mask: np.ndarray) -> np.ndarray:
    inner = np.asarray(ndimage.binary_erosion(np.pad(mask, 1)), bool)
    return mask & ~inner[tuple(slice(1, -1) for _ in mask.shape)]


@dataclass(frozen=True, eq=False)
class Calibration:
    """How well predicted Dices agree with true ones.

    Attributes:
        correlation: Spearman's rank correlation; NaN where all values are alike.
        error: the expected calibration error: |mean predicted - mean true| in each of 10 equal
            bins of the predicted value, weighted by how many slices are in the bin.
        bins: (10, 3): mean predicted, mean true, and number of slices of each bin.
    """

    correlation: float
    error: float
    bins: np.ndarray

    @classmethod
    def of(cls, predicted: np.ndarray, true: np.ndarray) -> Calibration:
        """Compares predicted and true Dices of slices, each (slices,)."""
        place = np.clip((predicted * BINS).astype(int), 0, BINS - 1)
        bins = np.zeros((BINS, 3))
        for index in range(BINS):
            inside = place == index
            if inside.any():
                bins[index] = predicted[inside].mean(), true[inside].mean(), inside.sum()
        share = bins[:, 2] / max(len(predicted), 1)
        error = float((np.abs(bins[:, 0] - bins[:, 1]) * share).sum())
        varied = len(predicted) > 1 and np.ptp(predicted) > 0 and np.ptp(true) > 0
        correlation = (
            float(np.asarray(stats.spearmanr(predicted, true))[0]) if varied else float("nan")
        )
        return cls(correlation, error, bins)
