"""Sparse annotation: of a dense label map only some slices in each orientation are kept.

What Çiçek et al. 2016 (section 3) ask of an annotator, done with dense label maps: to train on them
as if so little had been labelled, and to score on all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from invseg_jax.data.layouts.case import IGNORED


def annotated_voxels(label: np.ndarray, slices: Sequence[int]) -> np.ndarray:
    """The voxels of some slices across each axis, evenly spaced over the extent of the foreground.

    Across an axis along which the foreground reaches from a to b (b not included), n slices stand
    at a + (i + 1/2) (b - a) / n, rounded down, for i = 0 .. n - 1: in the middle of n equal parts.
    Each is a whole plane of the volume, so it shows background far from the foreground as well.

    Args:
        label: (D, H, W) class indices, along the axes of the file; what is `IGNORED` is no
            foreground. Without foreground, the slices are spread over the whole volume.
        slices: how many across each of the three axes.

    Returns:
        (D, H, W) bool.
    """
    foreground = (label > 0) & (label != IGNORED)
    if not foreground.any():
        foreground = np.ones_like(foreground)
    kept = np.zeros(label.shape, bool)
    for axis, count in enumerate(slices):
        others = tuple(other for other in range(label.ndim) if other != axis)
        inside = np.flatnonzero(foreground.any(axis=others))
        first, extent = int(inside[0]), int(inside[-1] - inside[0]) + 1
        for i in range(count):
            place = first + (2 * i + 1) * extent // (2 * count)
            kept[(slice(None),) * axis + (place,)] = True
    return kept


def keep_slices(label: np.ndarray, slices: Sequence[int]) -> np.ndarray:
    """The label map as if only these slices had been annotated; the rest is `IGNORED`."""
    return np.where(annotated_voxels(label, slices), label, np.uint8(IGNORED))


def leave_out_slices(label: np.ndarray, slices: Sequence[int]) -> np.ndarray:
    """The label map without these slices, which are `IGNORED`: what nobody has annotated."""
    return np.where(annotated_voxels(label, slices), np.uint8(IGNORED), label)
