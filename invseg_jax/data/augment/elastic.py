"""Elastic deformation: a smooth random displacement of every voxel (Çiçek et al. 2016)."""

import math
from collections.abc import Sequence

import jax
import numpy as np

from invseg_jax.data.augment.separable import along_axes


def control_points(size: int, spacing: float) -> np.ndarray:
    """Where the control points lie along one axis, in voxels.

    At least two, `spacing` apart, symmetric about the patch's centre, the outermost not inside of
    the patch.

    Args:
        size: voxels along the axis.
        spacing: voxels from one control point to the next.
    """
    count = max(math.ceil((size - 1) / spacing), 1) + 1
    return (size - 1) / 2 + spacing * (np.arange(count) - (count - 1) / 2)


def spline_matrix(size: int, spacing: float) -> np.ndarray:
    """The cubic spline through the values at the control points, at every voxel of an axis.

    It is the interpolating cubic B-spline of `scipy.ndimage` with `mode="mirror"`.

    Args:
        size: voxels along the axis.
        spacing: voxels from one control point to the next.

    Returns:
        (size, control points) float32: values at the voxels from values at the control points.
    """
    # Imported here: it takes 0.4 s, and few configurations deform.
    from scipy.interpolate import CubicSpline

    points = control_points(size, spacing)
    # The mirror image continues a function with slope 0 at the end.
    spline = CubicSpline(points, np.eye(len(points)), bc_type="clamped")
    return spline(np.arange(size)).astype(np.float32)


def displacement(key: jax.Array, shape: Sequence[int], spacing: float, sigma: float) -> jax.Array:
    """A random displacement of every voxel of a patch.

    At each control point of a coarse grid a vector is drawn, each component from the normal
    distribution with standard deviation `sigma`; cubic B-splines interpolate between them.

    Args:
        key: typed PRNG key.
        shape: (D, H, W).
        spacing: voxels between control points, along every axis.
        sigma: standard deviation in voxels.

    Returns:
        (D, H, W, 3) float32, in voxels along depth, height and width.
    """
    matrices = [spline_matrix(size, spacing) for size in shape]
    coarse = [matrix.shape[1] for matrix in matrices]
    return along_axes(matrices, sigma * jax.random.normal(key, (*coarse, 3), np.float32))
