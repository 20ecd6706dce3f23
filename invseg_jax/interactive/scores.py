"""Scores of a mask, and of a network that judges its own masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import surface_distance
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

    Args:
        found: bool (slices, rows, columns).
        truth: of the same shape.
        spacing: of the three axes, in mm.
        tolerance: how near counts, in mm.

    Returns:
        0 to 1; 1 where both are empty.
    """
    either = found | truth
    if not either.any():
        return 1.0
    if not (found.any() and truth.any()):
        return 0.0
    box = ndimage.find_objects(either.astype(np.uint8))[0]
    distances = surface_distance.compute_surface_distances(truth[box], found[box], spacing)
    return float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance))


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
