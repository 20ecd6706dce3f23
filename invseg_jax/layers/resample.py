"""Ordinary (not invertible) changes of resolution by a factor of two, and padding to allow them."""

import jax.numpy as jnp
from flax import nnx

from invseg_jax.layers.initial import he_normal
from invseg_jax.reversible import depth_to_space
from invseg_jax.reversible.layer import Array

SPATIAL = (1, 2, 3)


def max_pool(x: Array) -> Array:
    """2x2x2 maximum, stride 2: (n, d, h, w, c) -> (n, d/2, h/2, w/2, c)."""
    n, d, h, w, c = x.shape
    return x.reshape(n, d // 2, 2, h // 2, 2, w // 2, 2, c).max(axis=(2, 4, 6))


def upsample_linear(x: Array) -> Array:
    """Trilinear, factor 2, half-voxel centres: (n, d, h, w, c) -> (n, 2d, 2h, 2w, c).

    Each new voxel lies a quarter voxel from an old one: 3/4 of it and 1/4 of its neighbour, the
    edge repeated. Written with shifts, which shard along space without gathering the volume.
    """
    for axis in SPATIAL:
        x = _double(x, axis)
    return x


def _double(x: Array, axis: int) -> Array:
    size = x.shape[axis]
    edges = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
    padded = jnp.pad(x, edges, mode="edge")
    before = jnp.take(padded, jnp.arange(size), axis=axis)
    after = jnp.take(padded, jnp.arange(2, size + 2), axis=axis)
    pair = jnp.stack((0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after), axis=axis + 1)
    return pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def pad_to_multiple(x: Array, multiple: int) -> Array:
    """Zeros behind the end of each spatial axis, up to the next multiple.

    (n, d, h, w, c) -> (n, d', h', w', c).
    """
    behind = [(0, -x.shape[axis] % multiple) for axis in SPATIAL]
    return jnp.pad(x, ((0, 0), *behind, (0, 0)))


def crop_to(x: Array, shape: tuple[int, ...]) -> Array:
    """Undoes `pad_to_multiple`: the first voxels, as many as `shape`, (n, d, h, w, ...), has."""
    d, h, w = shape[1:4]
    return x[:, :d, :h, :w]


class UpConv(nnx.Module):
    """2x2x2 transposed convolution with stride 2, as a matrix product and depth to space.

    (n, d, h, w, features_in) -> (n, 2d, 2h, 2w, features_out), without a bias. Kernel and stride
    are equal, so no output voxel sees two inputs, and the product says it all.
    """

    def __init__(self, features_in: int, features_out: int, *, rngs: nnx.Rngs):
        """Draws the kernel (He et al. 2015)."""
        self.kernel = nnx.Param(he_normal(rngs, (features_in, features_out * 8)))

    def __call__(self, x: Array) -> Array:
        """(n, d, h, w, features_in) -> (n, 2d, 2h, 2w, features_out)."""
        return depth_to_space(jnp.matmul(x, self.kernel[...]))
