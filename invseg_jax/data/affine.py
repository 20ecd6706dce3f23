"""Affine resampling of one patch about its centre, in pure JAX."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def affine_matrix(angles: jax.Array, scale: jax.Array, spacing: Sequence[float]) -> jax.Array:
    """The matrix M that takes offsets from the centre in the output to offsets in the input.

    M = S^-1 Rx Ry Rz S diag(1 / scale) with S = diag(spacing): in voxels, while the rotation acts
    in mm and so does not shear anisotropic voxels. Zero angles and unit scale give the identity
    exactly.

    Args:
        angles: (3,) float32, radians about the depth, height and width axes.
        scale: (3,) float32, magnification along each axis of the output.
        spacing: voxel size along each axis, in mm.

    Returns:
        (3, 3) float32.
    """
    (cx, cy, cz), (sx, sy, sz) = jnp.cos(angles), jnp.sin(angles)
    rotation = [
        [cy * cz, -cy * sz, sy],
        [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
        [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
    ]
    # Entry (i, j) of S^-1 R S is R[i, j] * s_j / s_i; this form leaves the diagonal exact.
    ratio = [[s_j / s_i for s_j in spacing] for s_i in spacing]
    in_voxels = jnp.stack([jnp.stack(row) for row in rotation]) * jnp.asarray(ratio, jnp.float32)
    return in_voxels / scale[None, :]


def affine_coordinates(matrix: jax.Array, shape: Sequence[int]) -> tuple[jax.Array, ...]:
    """Where each output voxel x of a patch lies in the input: M (x - c) + c about the centre c.

    Args:
        matrix: (3, 3) float32, see `affine_matrix`.
        shape: (D, H, W).

    Returns:
        Three (D, H, W) float32 arrays: input coordinates along each axis, in voxels.
    """
    centre = [(n - 1) / 2 for n in shape]
    offset = [
        jax.lax.broadcasted_iota(jnp.float32, tuple(shape), axis) - centre[axis]
        for axis in range(3)
    ]
    # Written out, not as a matrix product, which an accelerator may do in reduced precision.
    return tuple(
        row[0] * offset[0] + row[1] * offset[1] + row[2] * offset[2] + middle
        for row, middle in zip(matrix, centre, strict=True)
    )


def resample_affine(
    image: jax.Array, label: jax.Array, matrix: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Resamples a patch: the image trilinearly, the label at the nearest voxel of the same place.

    Agrees with `scipy.ndimage.map_coordinates(..., mode="constant")` of order 1 and 0: what lies
    outside of the outermost voxel centres becomes 0. The identity returns its input bit for bit.

    Args:
        image: (D, H, W, C) float32.
        label: (D, H, W) int32.
        matrix: (3, 3) float32, see `affine_matrix`.

    Returns:
        Image and label of the same shapes and dtypes.
    """
    shape = label.shape
    # One flat index a corner serves all channels.
    rows, classes = image.reshape(-1, image.shape[-1]), label.reshape(-1)

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
        return jnp.where(inside[..., None], values, 0.0), jnp.where(inside, found, 0)

    # Plane by plane: for the whole patch at once XLA keeps all eight corners in memory, or fuses
    # the gathers into each of the steps that follow and repeats them there.
    return jax.lax.map(resample_plane, affine_coordinates(matrix, shape))
