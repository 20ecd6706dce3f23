"""Interpolation between voxel grids: to another spacing, or onto the grid of another image.

Grids are compared by the places of their voxels' centres. A grid of another spacing has its centre
where the old one has it and just the spacing asked for, so that all cases agree to the last digit;
its number of voxels is rounded, and its border lies within a quarter of a voxel of the old one.

Where voxels get larger, intensities are smoothed first, as structures between the new centres would
otherwise alias: a voxel's profile is taken as a Gaussian whose full width at half maximum is the
spacing, and the difference of the two variances is added (Cardoso et al., MICCAI 2015, "Scale
factor point spread function matching").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from invseg_jax.data.layouts.case import IGNORED

Triple = tuple[int, int, int]

ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}  # degree of the spline

# A smoothing kernel may reach so many voxels to each side, whatever the size of the array.
_KERNEL = 64
# Variance of a Gaussian whose full width at half maximum is 1.
_VARIANCE = 1 / (8 * math.log(2))


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float], target: Sequence[float]
) -> Triple:
    """Voxels that cover at another spacing what a grid covers, at least one along each axis.

    Args:
        shape: (D, H, W) in voxels.
        spacing: of the grid along its axes, in mm.
        target: the same of the new grid.
    """
    d, h, w = (
        max(1, math.floor(n * old / new + 0.5))
        for n, old, new in zip(shape, spacing, target, strict=True)
    )
    return d, h, w


def resample(
    array: np.ndarray,
    step: Sequence[float],
    shape: Sequence[int],
    *,
    interpolation: str = "linear",
    smooth: bool = False,
    planes: slice = slice(None),
) -> np.ndarray:
    """Resamples a volume to a grid of another spacing and the same centre.

    Beyond the outermost centres the outermost values go on.

    Args:
        array: (D, H, W), real; with "linear" also (D, H, W, C).
        step: of the new grid along the axes, in voxels of the old one.
        shape: of the new grid.
        interpolation: one of `ORDERS`.
        smooth: whether to smooth along axes whose step is above 1, against aliasing.
        planes: which planes of the new grid along its first axis to give; all by default.

    Returns:
        (planes, *shape[1:]) float32, with C as the array.
    """
    steps = np.asarray(step, np.float64)
    offset = (np.array(array.shape[:3]) - 1) / 2 - (np.asarray(shape) - 1) / 2 * steps
    first, last, _ = planes.indices(shape[0])
    offset[0] += first * steps[0]
    wanted = (last - first, *shape[1:])
    if smooth:
        array = _smoothed(array, steps)
    if interpolation == "linear":
        # A product over the axes: one after the other takes a tenth of the time of all at once.
        for axis in range(3):
            array = _along(array, axis, offset[axis] + steps[axis] * np.arange(wanted[axis]))
        return array.astype(np.float32, copy=False)
    return _sample(array, np.diag(steps), offset, wanted, interpolation)


def resample_label(
    label: np.ndarray, step: Sequence[float], shape: Sequence[int], *, interpolation: str
) -> np.ndarray:
    """Resamples class indices, as `resample` does intensities.

    Args:
        label: (D, H, W) uint8.
        step: of the new grid along the axes, in voxels of the old one.
        shape: of the new grid.
        interpolation: "nearest" takes the class of the nearest voxel; "linear" resamples the
            indicator of each class, smoothed where voxels get larger, and takes the class with the
            largest value (the lowest of equals). Classes go one by one: two volumes are held.
            What nobody labelled is no class: a new voxel is labelled where it holds the centre of
            a labelled one, or the nearest one is labelled. A plane so stays a plane on a coarser
            grid, where its neighbours would outnumber it; with "nearest" it may be passed by.

    Returns:
        (*shape) uint8.
    """
    if interpolation == "nearest":
        # Not through float32 indicators: the values are taken, not mixed.
        return resample(label, step, shape, interpolation="nearest").astype(np.uint8)
    result = np.zeros(tuple(shape), np.uint8)
    largest = np.zeros(tuple(shape), np.float32)
    for index in np.setdiff1d(label, IGNORED):
        indicator = (label == index).astype(np.float32)
        share = resample(indicator, step, shape, interpolation=interpolation, smooth=True)
        more = share > largest
        result[more] = index
        largest[more] = share[more]
    known = label != IGNORED
    if known.all():
        return result
    for axis in range(3):
        known = np.moveaxis(
            _any_within(np.moveaxis(known, axis, 0), step[axis], shape[axis]), 0, axis
        )
    result[~known] = IGNORED
    return result


def _any_within(known: np.ndarray, step: float, planes: int) -> np.ndarray:
    """Which places of the new planes hold a known one of the old, or are nearest to one."""
    old = np.arange(len(known)) - (len(known) - 1) / 2  # from the common centre
    new = np.arange(planes) - (planes - 1) / 2
    nearest = np.rint(new * step - old[0]).astype(int)
    within = np.floor(old / step - new[0] + 0.5).astype(int)
    result = known[nearest.clip(0, len(known) - 1)]
    for plane, place in zip(known, within.clip(0, planes - 1), strict=True):
        result[place] |= plane
    return result


def resample_onto(
    array: np.ndarray,
    affine: np.ndarray,
    target: np.ndarray,
    shape: Sequence[int],
    *,
    interpolation: str = "linear",
) -> np.ndarray:
    """Resamples a volume onto another grid in the same space.

    Args:
        array: (D, H, W), real.
        affine: (4, 4), its voxel indices to mm.
        target: (4, 4), the new grid's voxel indices to mm.
        shape: of the new grid.
        interpolation: one of `ORDERS`.

    Returns:
        (*shape) float32. New voxels whose centre lies outside of the volume are air: 0, or the
        smallest value of a volume with values below 0, such as a CT in Hounsfield units.
    """
    air = min(0.0, float(array.min()))
    mapping = np.linalg.solve(affine, target)  # from the new grid's indices to the old one's
    matrix, offset = mapping[:3, :3], mapping[:3, 3]
    # How far a step in the new grid moves along each axis of the old one.
    array = _smoothed(array, np.linalg.norm(matrix, axis=1))
    result = _sample(array, matrix, offset, tuple(shape), interpolation)
    # A spline through values near the limit of float32 may overshoot it.
    np.nan_to_num(result, copy=False)
    d, h, w = (np.arange(n) for n in shape)
    for row, start, size in zip(matrix, offset, array.shape, strict=True):
        along = start + row[1] * h[:, None] + row[2] * w
        for plane, there in zip(result, row[0] * d, strict=True):
            # A voxel reaches half its width beyond its centre; rounding must not cut the border.
            outside = np.abs(along + there - (size - 1) / 2) > size / 2 + 1e-6
            plane[outside] = air
    return result


def _smoothed(array: np.ndarray, steps: np.ndarray) -> np.ndarray:
    sigma = np.sqrt(np.maximum(steps**2 - 1, 0) * _VARIANCE)
    sigma[steps < 1 + 1e-3] = 0
    if not sigma.any():
        return array
    # The kernel reaches four deviations, as in SciPy, but not beyond the array, where all values
    # equal the border: a header with voxels a million times too small would ask for a kernel of a
    # million weights.
    longest = np.maximum(array.shape, _KERNEL)
    radius = [min(int(4 * s + 0.5), int(n)) for s, n in zip(sigma.tolist(), longest, strict=True)]
    return ndimage.gaussian_filter(array, sigma, mode="nearest", output=np.float32, radius=radius)


def _along(array: np.ndarray, axis: int, places: np.ndarray) -> np.ndarray:
    """Interpolates linearly at these places, in voxels, along one axis."""
    last = array.shape[axis] - 1
    places = np.clip(places, 0, last)
    low = places.astype(np.intp)
    result = array.take(low, axis).astype(np.float32, copy=False)
    weight = (places - low).astype(np.float32)
    if weight.any():
        more = array.take(np.minimum(low + 1, last), axis).astype(np.float32, copy=False)
        more -= result
        more *= weight.reshape(-1, *[1] * (array.ndim - axis - 1))
        result += more
    return result


def _sample(
    array: np.ndarray,
    matrix: np.ndarray,
    offset: np.ndarray,
    shape: tuple[int, ...],
    interpolation: str,
) -> np.ndarray:
    return ndimage.affine_transform(
        array,
        np.column_stack([matrix, offset]),
        output_shape=shape,
        output=np.float32,
        order=ORDERS[interpolation],
        mode="nearest",
    )
