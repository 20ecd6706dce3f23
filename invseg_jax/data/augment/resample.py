"""Resampling of one patch: where each voxel comes from, and fetching image and label there."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from invseg_jax.data.layouts.case import IGNORED


def source_coordinates(
    matrix: jax.Array, displacement: jax.Array | None, shape: Sequence[int]
) -> tuple[jax.Array, ...]:
    """Where each output voxel x of a patch lies in the input: M (x + u(x) - c) + c, centre c.

    The patch is so first mapped by M and then deformed. Along an axis of one voxel the place is
    always that voxel, so that a single slice stays in its plane.

    Args:
        matrix: M, (3, 3) float32, see `affine_matrix`.
        displacement: u, (D, H, W, 3) float32 in voxels, or None for no deformation.
        shape: (D, H, W).

    Returns:
        Three (D, H, W) float32 arrays: input coordinates along each axis, in voxels.
    """
    centre = [(n - 1) / 2 for n in shape]
    offset = []
    for axis, n in enumerate(shape):
        along = jax.lax.broadcasted_iota(jnp.float32, tuple(shape), axis) - centre[axis]
        if displacement is not None and n > 1:
            along = along + displacement[..., axis]
        offset.append(along)
    # Written out, not as a matrix product, which an accelerator may do in reduced precision.
    return tuple(
        row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2] + middle
        if n > 1
        else jnp.zeros(tuple(shape), jnp.float32)
        for row, middle, n in zip(matrix, centre, shape, strict=True)
    )


def resample(
    image: jax.Array, label: jax.Array, coordinates: Sequence[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Resamples a patch: the image trilinearly, the label at the nearest voxel of the same place.

    Agrees with `scipy.ndimage.map_coordinates(..., mode="constant")` of order 1 and 0: what lies
    outside of the outermost voxel centres becomes 0, but `IGNORED` in the label of a patch that
    holds voxels that nobody labelled: where few are labelled, it would outnumber them. Each voxel's
    own coordinates return the input bit for bit.

    Args:
        image: (D, H, W, C) float32.
        label: (D, H, W) int32, class indices or `IGNORED`.
        coordinates: see `source_coordinates`.

    Returns:
        Image and label of the same shapes and dtypes.
    """
    shape = label.shape
    # One flat index a corner serves all channels.
    rows, classes = image.reshape(-1, image.shape[-1]), label.reshape(-1)
    outside = jnp.where(jnp.any(classes == IGNORED), IGNORED, 0)

    def take(array, z, y, x):
        return array.at[(z * shape[1] + y) * shape[2] + x].get(mode="promise_in_bounds")

    def between(low, high, t):
        return low + t * (high - low)  # exactly `low` at t = 0

    def resample_plane(coordinates):
        inside = jnp.ones(shape[1:], bool)
        lower, upper, weight, nearest = [], [], [], []
        for coordinate, n in zip(coordinates, shape, strict=True):
            inside &= (coordinate >= 0) & (coordinate <= n - 1)
            clipped = jnp.clip(coordinate, 0, n - 1)
            floor = jnp.floor(clipped)
            lower.append(floor.astype(jnp.int32))
            upper.append(jnp.minimum(lower[-1] + 1, n - 1))
            weight.append((clipped - floor)[..., None])
            nearest.append(jnp.floor(clipped + 0.5).astype(jnp.int32))

        def along_width(z, y):
            return between(take(rows, z, y, lower[2]), take(rows, z, y, upper[2]), weight[2])

        def along_height(z):
            return between(along_width(z, lower[1]), along_width(z, upper[1]), weight[1])

        values = between(along_height(lower[0]), along_height(upper[0]), weight[0])
        found = take(classes, *nearest)
        return jnp.where(inside[..., None], values, 0.0), jnp.where(inside, found, outside)

    # Plane by plane: for the whole patch at once XLA keeps all eight corners in memory, or fuses
    # the gathers into each of the steps that follow and repeats them there.
    return jax.lax.map(resample_plane, tuple(coordinates))
