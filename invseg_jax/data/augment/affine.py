"""Random rotation, scale and stretch, as a matrix."""

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
