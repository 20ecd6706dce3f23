"""Ordinary (not invertible) changes of resolution by a factor of two, and padding to allow them."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from invseg_jax.layers.initial import he_normal
from invseg_jax.reversible import depth_to_space
from invseg_jax.reversible.layer import Array

SPATIAL = (1, 2, 3)


def max_pool(x: Array, axes: tuple[int, ...] = SPATIAL) -> Array:
    """2x2x2 maximum, stride 2: (n, d, h, w, c) -> (n, d/2, h/2, w/2, c).

    With fewer axes, along these alone. Pair by pair along each axis: the gradient of one maximum
    over all three takes twice as long on CPUs.
    """
    for axis in reversed(axes):
        x = jnp.maximum(*_pairs(x, axis))
    return x


def upsample_linear(x: Array, axes: tuple[int, ...] = SPATIAL) -> Array:
    """Trilinear, factor 2, half-voxel centres: (n, d, h, w, c) -> (n, 2d, 2h, 2w, c).

    With fewer axes, along these alone. Each new voxel lies a quarter voxel from an old one: 3/4 of
    it and 1/4 of its neighbour, the edge repeated. Written with shifts, which shard along space
    without gathering the volume.
    """
    for axis in reversed(axes):
        x = _double(x, axis)
    return x


def _pairs(x: Array, axis: int) -> tuple[Array, Array]:
    """The even and the odd places along an axis."""
    pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
    return (
        lax.index_in_dim(pairs, 0, axis + 1, keepdims=False),
        lax.index_in_dim(pairs, 1, axis + 1, keepdims=False),
    )


def _shift(x: Array, by: int, axis: int, fill: Array) -> Array:
    """Moves x one place along an axis (by = 1 or -1); the place that falls free takes from `fill`.

    `fill` gives its first place for by = 1 and its last for by = -1.
    """
    size = x.shape[axis]
    if by == 1:
        parts = (
            lax.slice_in_dim(fill, 0, 1, axis=axis),
            lax.slice_in_dim(x, 0, size - 1, axis=axis),
        )
    else:
        parts = (
            lax.slice_in_dim(x, 1, size, axis=axis),
            lax.slice_in_dim(fill, size - 1, size, axis=axis),
        )
    return jnp.concatenate(parts, axis=axis)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _double(x: Array, axis: int) -> Array:
    """Linear interpolation to twice the size along one axis.

    y_2i = 3/4 x_i + 1/4 x_(i-1),   y_(2i+1) = 3/4 x_i + 1/4 x_(i+1)
    """
    before, after = _shift(x, 1, axis, x), _shift(x, -1, axis, x)
    pair = jnp.stack((0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after), axis=axis + 1)
    return pair.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])


def _double_forward(x: Array, axis: int) -> tuple[Array, None]:
    return _double(x, axis), None


def _double_transpose(axis: int, _, dy: Array) -> tuple[Array]:
    """The transpose, as shifts too: the derived one pads and adds, four times as long on CPUs."""
    even, odd = _pairs(dy, axis)
    neighbours = _shift(even, -1, axis, odd) + _shift(odd, 1, axis, even)
    return (0.75 * (even + odd) + 0.25 * neighbours,)


_double.defvjp(_double_forward, _double_transpose)


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


def central(x: Array, size: tuple[int, ...]) -> Array:
    """The middle of a volume (n, d, h, w, ...) or of a label map: `size` voxels of (d, h, w)."""
    starts = [(have - want) // 2 for have, want in zip(x.shape[1:4], size, strict=True)]
    d, h, w = (slice(a, a + want) for a, want in zip(starts, size, strict=True))
    return x[:, d, h, w]


class UpConv(nnx.Module):
    """2x2x2 transposed convolution with stride 2, as a matrix product and depth to space.

    (n, d, h, w, features_in) -> (n, 2d, 2h, 2w, features_out), without a bias. Kernel and stride
    are equal, so no output voxel sees two inputs, and the product says it all.
    """

    def __init__(self, features_in: int, features_out: int, *, rngs: nnx.Rngs):
        """Draws the kernel (He et al. 2015)."""
        self.kernel = nnx.Param(he_normal(rngs, (features_in, features_out * 8), features_in))

    def __call__(self, x: Array) -> Array:
        """(n, d, h, w, features_in) -> (n, 2d, 2h, 2w, features_out)."""
        return depth_to_space(jnp.matmul(x, self.kernel[...]))
