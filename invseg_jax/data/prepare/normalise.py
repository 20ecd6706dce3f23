"""Intensities of a modality on a scale that networks like: z-scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# How a modality can be normalised; see `normalise`.
SCHEMES = ("z_score_nonzero", "z_score", "ct")
# Above this, the difference of two intensities may exceed the range of float32.
_LARGE = 1e38


@dataclass(frozen=True)
class Intensities:
    """How a modality's intensities are distributed over the foreground of the training cases.

    Attributes:
        mean: in the file's units.
        std: standard deviation.
        median: 50th percentile.
        low: 0.5th percentile.
        high: 99.5th percentile.
    """

    mean: float
    std: float
    median: float
    low: float
    high: float


def normalise(
    channel: np.ndarray, scheme: str, intensities: Intensities | None = None
) -> np.ndarray:
    """Normalises one modality of a case.

    Args:
        channel: (D, H, W), real, finite.
        scheme: "z_score_nonzero": to mean 0 and standard deviation 1 over the voxels that are not
            0. Zeros, the air around a skull-stripped head, stay 0.
            "z_score": the same over all voxels.
            "ct": clipped to `low` and `high`, then less `mean` and by `std`, all of `intensities`:
            the scale of a CT is the same in all cases, and tells tissues (nnU-Net, Isensee et al.
            2021).
        intensities: of the modality in the training cases; "ct" needs them.

    Returns:
        (D, H, W) float32, a new array. A channel without contrast becomes 0.
    """
    if scheme == "ct":
        assert intensities is not None
        clipped = np.clip(channel.astype(np.float32), intensities.low, intensities.high)
        # A foreground of one intensity tells nothing of the scale.
        deviation = np.float32(intensities.std) or np.float32(1.0)
        if max(abs(intensities.low), abs(intensities.high)) > _LARGE:
            return ((clipped.astype(np.float64) - intensities.mean) / deviation).astype(np.float32)
        return (clipped - np.float32(intensities.mean)) / deviation
    result = np.zeros(channel.shape, np.float32)
    inside = channel != 0 if scheme == "z_score_nonzero" else np.ones(channel.shape, bool)
    values = channel[inside].astype(np.float64)
    if values.size:
        values -= values.mean()
        deviation = values.std()
        # Below this, what is left is the rounding of the mean.
        if deviation > 1e-12 * np.abs(channel).max():
            result[inside] = values / deviation
    return result
