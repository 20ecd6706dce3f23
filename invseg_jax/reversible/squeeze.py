"""Moves between space and channels: squeeze (space to depth), halves, and their inverses.

All are permutations or cuts of the voxels: exact, without parameters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from invseg_jax.reversible.barrier import settle
from invseg_jax.reversible.layer import Array, Params, Permutation, Stream, Taps
from invseg_jax.reversible.planes import Planes

Factor = tuple[int, int, int]
Pair = tuple[Stream, Stream]


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

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """(n, d, h, w, c) -> (n, d/a, h/b, w/e, c*a*b*e)."""
        return self._moved(space_to_depth, x), {}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """(n, d, h, w, c*a*b*e) -> (n, d*a, h*b, w*e, c)."""
        return self._moved(depth_to_space, y)

    def _moved(self, move: Callable[[Array, Factor], Array], x: Stream) -> Stream:
        if isinstance(x, Planes):
            return Planes.of(move(x.volume, self.factor))
        return move(x, self.factor)


def _join(first: Array, second: Array) -> Array:
    return jnp.concatenate((first, second), axis=-1)


def _cut(x: Stream, first: int) -> Pair:
    """The first channels, and the others."""
    return jax.tree.map(lambda x: x[..., :first], x), jax.tree.map(lambda x: x[..., first:], x)


@dataclass(frozen=True)
class Halve(Permutation):
    """Cuts the channels into the two parts that couplings work on.

        (..., c) -> (..., first), (..., c - first)

    Attributes:
        first: channels of the first part; by default the larger half.
    """

    first: int | None = None

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Pair, Taps]:
        """Cuts x into (x1, x2)."""
        channels = jax.tree.leaves(x)[0].shape[-1]
        return _cut(x, channels - channels // 2 if self.first is None else self.first), {}

    def inverse(self, params: Params, y: Pair, key: Array | None = None) -> Stream:
        """Joins (x1, x2) to x."""
        return jax.tree.map(_join, *y)

    def pullback(
        self, params: Params, y: Pair, dy: Pair, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """Joins both, one after the other, so that the halves need not be kept."""
        del dtaps
        x = jax.tree.map(partial(settle, _join), *y)
        return x, jax.tree.map(partial(settle, _join, after=x), *dy), params


@dataclass(frozen=True)
class Join(Permutation):
    """The inverse of `Halve`.

        (..., first), (..., c - first) -> (..., c)

    Attributes:
        first: channels of the first part.
    """

    first: int

    def forward(self, params: Params, x: Pair, key: Array | None = None) -> tuple[Stream, Taps]:
        """Joins (x1, x2) to y."""
        return jax.tree.map(_join, *x), {}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Pair:
        """Cuts y into (x1, x2)."""
        return _cut(y, self.first)

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Pair, Pair, Params]:
        """Cuts the cotangent, then the stream; the whole of neither need be kept."""
        del dtaps

        def cut(y: Stream, after: Any) -> Pair:
            leaves, structure = jax.tree.flatten(y)
            halves = [settle(partial(_cut, first=self.first), leaf, after=after) for leaf in leaves]
            first, second = zip(*halves, strict=True)
            return jax.tree.unflatten(structure, first), jax.tree.unflatten(structure, second)

        dx = cut(dy, ())
        return cut(y, dx), dx, params
