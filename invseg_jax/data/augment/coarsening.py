"""What takes detail from an image: blur, and a coarser grid. As matrices along one axis."""

import jax
import jax.numpy as jnp

_LEAST_DEVIATION = 1e-3  # voxels; below it no neighbour has any weight


def blur_matrix(deviation: jax.Array, size: int) -> jax.Array:
    """Convolution with a Gaussian, the axis mirrored at its ends.

    `scipy.ndimage.gaussian_filter1d` with `mode="reflect"`, not truncated.

    Args:
        deviation: the Gaussian's standard deviation in voxels, a float32 scalar; 0 is the identity.
        size: voxels along the axis.

    Returns:
        (size, size) float32; rows sum to 1.
    """
    place = jnp.arange(size, dtype=jnp.float32)
    apart, together = place[:, None] - place[None, :], place[:, None] + place[None, :]
    deviation = jnp.maximum(deviation, _LEAST_DEVIATION)

    def weight(distance):
        return jnp.exp(-0.5 * (distance / deviation) ** 2)

    # The mirrored axis repeats every 2 size voxels; further images than the nearest have no weight.
    repeats = (-2 * size, 0, 2 * size)
    weights = sum(weight(apart + shift) + weight(together + 1 + shift) for shift in repeats)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def low_resolution_matrix(zoom: jax.Array, size: int) -> jax.Array:
    """Sampling at fewer voxels, the nearest ones, and linear interpolation back, as nnU-Net.

    `scipy.ndimage.zoom` of order 0 and then of order 1, with `grid_mode=True, mode="nearest"`.

    Args:
        zoom: voxels kept, as a fraction of `size`; a float32 scalar up to 1, which is the identity.
        size: voxels along the axis.

    Returns:
        (size, size) float32; rows sum to 1.
    """
    place = jnp.arange(size, dtype=jnp.float32)
    kept = jnp.maximum(jnp.round(zoom * size), 1.0)
    # Voxel centres are at halves: the coarse and the fine grid have the same ends.
    coarse = jnp.clip((place + 0.5) * (kept / size) - 0.5, 0.0, kept - 1)
    lower = jnp.floor(coarse)
    upper = jnp.minimum(lower + 1, kept - 1)
    share = (coarse - lower)[:, None]

    def nearest(coarse):
        return (jnp.floor((coarse + 0.5) * size / kept)[:, None] == place[None, :]).astype(
            jnp.float32
        )

    return (1 - share) * nearest(lower) + share * nearest(upper)
