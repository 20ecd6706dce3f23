"""Moves between space and channels: squeeze (space to depth), halves, and their inverses.

All are permutations or cuts of the voxels: exact, without parameters.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from invseg_jax.reversible.barrier import settle
from invseg_jax.reversible.layer import Array, Params, Permutation, Taps

Factor = tuple[int, int, int]


def space_to_depth(x: Array, factor: Factor = (2, 2, 2)) -> Array:
    """Packs each block of `factor` voxels into channels.

        (n, d, h, w, c) -> (n, d/a, h/b, w/e, c*a*b*e)

    The channels of one input channel stay together: output channel c*abe + p holds position p of
    the block, positions counted in depth, height, width order.

    Raises:
        ValueError: a spatial size is not a multiple of its factor.
    """
    n, d, h, w, c = x.shape
    a, b, e = factor
    for name, size, by in zip(("depth", "height", "width"), (d, h, w), factor, strict=True):
        if size % by:
            raise ValueError(
                f"squeeze: {name} {size} is not a multiple of {by}; "
                f"pad it to {math.ceil(size / by) * by}"
            )
    x = x.reshape(n, d // a, a, h // b, b, w // e, e, c)
    return x.transpose(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, d // a, h // b, w // e, c * a * b * e)


def depth_to_space(y: Array, factor: Factor = (2, 2, 2)) -> Array:
    """The inverse of `space_to_depth`: (n, d, h, w, c*abe) -> (n, d*a, h*b, w*e, c).

    Raises:
        ValueError: the channels are not a multiple of the block's voxels.
    """
    n, d, h, w, channels = y.shape
    a, b, e = factor
    if channels % (a * b * e):
        raise ValueError(f"unsqueeze: {channels} channels are not a multiple of {a * b * e}")
    c = channels // (a * b * e)
    y = y.reshape(n, d, h, w, c, a, b, e).transpose(0, 1, 5, 2, 6, 3, 7, 4)
    return y.reshape(n, d * a, h * b, w * e, c)


@dataclass(frozen=True)
class Squeeze(Permutation):
    """Space to depth as a layer: forward `space_to_depth`, inverse `depth_to_space`."""

    factor: Factor = (2, 2, 2)

    def forward(self, params: Params, x: Array, key: Array | None = None) -> tuple[Array, Taps]:
        """(n, d, h, w, c) -> (n, d/a, h/b, w/e, c*a*b*e)."""
        return space_to_depth(x, self.factor), {}

    def inverse(self, params: Params, y: Array, key: Array | None = None) -> Array:
        """(n, d, h, w, c*a*b*e) -> (n, d*a, h*b, w*e, c)."""
        return depth_to_space(y, self.factor)


def _join(first: Array, second: Array) -> Array:
    return jnp.concatenate((first, second), axis=-1)


@dataclass(frozen=True)
class Halve(Permutation):
    """Cuts the channels into the two parts that couplings work on.

        (..., c) -> (..., first), (..., c - first)

    Attributes:
        first: channels of the first part; by default the larger half.
    """

    first: int | None = None

    def forward(
        self, params: Params, x: Array, key: Array | None = None
    ) -> tuple[tuple[Array, Array], Taps]:
        """Cuts x into (x1, x2)."""
        first = x.shape[-1] - x.shape[-1] // 2 if self.first is None else self.first
        return (x[..., :first], x[..., first:]), {}

    def inverse(self, params: Params, y: tuple[Array, Array], key: Array | None = None) -> Array:
        """Joins (x1, x2) to x."""
        return _join(*y)

    def pullback(
        self,
        params: Params,
        y: tuple[Array, Array],
        dy: tuple[Array, Array],
        dtaps: Taps,
        key: Array | None = None,
    ) -> tuple[Array, Array, Params]:
        """Joins both, one after the other, so that the halves need not be kept."""
        del dtaps
        x = settle(_join, *y)
        return x, settle(_join, *dy, after=x), params


@dataclass(frozen=True)
class Join(Permutation):
    """The inverse of `Halve`.

        (..., first), (..., c - first) -> (..., c)

    Attributes:
        first: channels of the first part.
    """

    first: int

    def forward(
        self, params: Params, x: tuple[Array, Array], key: Array | None = None
    ) -> tuple[Array, Taps]:
        """Joins (x1, x2) to y."""
        return _join(*x), {}

    def inverse(self, params: Params, y: Array, key: Array | None = None) -> tuple[Array, Array]:
        """Cuts y into (x1, x2)."""
        return y[..., : self.first], y[..., self.first :]

    def pullback(
        self, params: Params, y: Array, dy: Array, dtaps: Taps, key: Array | None = None
    ) -> tuple[tuple[Array, Array], tuple[Array, Array], Params]:
        """Cuts the cotangent, then the stream; the whole of neither need be kept."""
        del dtaps

        def cut(y: Array) -> tuple[Array, Array]:
            return self.inverse(params, y)

        dx = settle(cut, dy)
        return settle(cut, y, after=dx), dx, params
