"""Moves between space and channels: squeeze (space to depth), halves, and their inverses.

All are permutations or cuts of the voxels: exact, without parameters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from invseg_jax.reversible.barrier import materialize
from invseg_jax.reversible.layer import Array, Params, Permutation, PyTree, Stream, Taps
from invseg_jax.reversible.planes import Planes

Factor = int | tuple[int, ...]
"""Of each axis of space, or one number for all of them."""
Halves = tuple[Stream, Stream]

_AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def space_to_depth(x: Array, factor: Factor = 2) -> Array:
    """Packs each block of `factor` voxels into channels.

        (n, d, h, w, c) -> (n, d/a, h/b, w/e, c*a*b*e)
        (n, h, w, c)    -> (n, h/a, w/b, c*a*b)
        (n, l, c)       -> (n, l/a, c*a)

    The channels of one input channel stay together: output channel c*abe + p holds position p of
    the block, positions counted in depth, height, width order.

    Raises:
        ValueError: a spatial size is not a multiple of its factor, or there are other numbers of
            factors than axes of space.
    """
    n, *sizes, c = x.shape
    factors = _factors(factor, len(sizes))
    for name, size, by in zip(_AXES[len(sizes)], sizes, factors, strict=True):
        if size % by:
            raise ValueError(
                f"squeeze: {name} {size} is not a multiple of {by}; "
                f"pad it to {math.ceil(size / by) * by}"
            )
    coarse = [size // by for size, by in zip(sizes, factors, strict=True)]
    blocks = [part for pair in zip(coarse, factors, strict=True) for part in pair]
    axes = range(1, 1 + len(blocks))
    x = x.reshape(n, *blocks, c).transpose(0, *axes[::2], 1 + len(blocks), *axes[1::2])
    return x.reshape(n, *coarse, c * math.prod(factors))


def depth_to_space(y: Array, factor: Factor = 2) -> Array:
    """The inverse of `space_to_depth`: (n, d, h, w, c*abe) -> (n, d*a, h*b, w*e, c).

    Raises:
        ValueError: the channels are not a multiple of the block's voxels, or there are other
            numbers of factors than axes of space.
    """
    n, *sizes, channels = y.shape
    factors = _factors(factor, len(sizes))
    voxels = math.prod(factors)
    if channels % voxels:
        raise ValueError(f"unsqueeze: {channels} channels are not a multiple of {voxels}")
    c, count = channels // voxels, len(sizes)
    y = y.reshape(n, *sizes, c, *factors)
    places = [axis for i in range(count) for axis in (1 + i, 2 + count + i)]
    fine = [size * by for size, by in zip(sizes, factors, strict=True)]
    return y.transpose(0, *places, 1 + count).reshape(n, *fine, c)


def _factors(factor: Factor, axes: int) -> tuple[int, ...]:
    """One factor for each axis."""
    if axes not in _AXES:
        raise ValueError(f"squeeze: {axes} axes of space; there are 1, 2 or 3")
    if isinstance(factor, int):
        return (factor,) * axes
    if len(factor) != axes:
        raise ValueError(f"squeeze: {len(factor)} factors for {axes} axes of space")
    return tuple(factor)


@dataclass(frozen=True)
class Squeeze(Permutation):
    """Space to depth as a layer: forward `space_to_depth`, inverse `depth_to_space`."""

    factor: Factor = 2

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """(n, d, h, w, c) -> (n, d/a, h/b, w/e, c*a*b*e); or images, or sequences."""
        return self._moved(space_to_depth, x), {}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """(n, d, h, w, c*a*b*e) -> (n, d*a, h*b, w*e, c); or images, or sequences."""
        return self._moved(depth_to_space, y)

    def _moved(self, move: Callable[[Array, Factor], Array], x: Stream) -> Stream:
        if isinstance(x, Planes):
            return Planes.of(move(x.volume, self.factor))
        return move(x, self.factor)


def _join(first: Array, second: Array) -> Array:
    return jnp.concatenate((first, second), axis=-1)


def _cut(x: Stream, first: int) -> Halves:
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

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Halves, Taps]:
        """Cuts x into (x1, x2)."""
        channels = jax.tree.leaves(x)[0].shape[-1]
        return _cut(x, channels - channels // 2 if self.first is None else self.first), {}

    def inverse(self, params: Params, y: Halves, key: Array | None = None) -> Stream:
        """Joins (x1, x2) to x."""
        return jax.tree.map(_join, *y)

    def pullback(
        self, params: Params, y: Halves, dy: Halves, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """Joins both, one after the other, so that the halves need not be kept."""
        del dtaps
        x = jax.tree.map(partial(materialize, _join), *y)
        return x, jax.tree.map(partial(materialize, _join, after=x), *dy), params


@dataclass(frozen=True)
class Join(Permutation):
    """The inverse of `Halve`.

        (..., first), (..., c - first) -> (..., c)

    Attributes:
        first: channels of the first part.
    """

    first: int

    def forward(self, params: Params, x: Halves, key: Array | None = None) -> tuple[Stream, Taps]:
        """Joins (x1, x2) to y."""
        return jax.tree.map(_join, *x), {}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Halves:
        """Cuts y into (x1, x2)."""
        return _cut(y, self.first)

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Halves, Halves, Params]:
        """Cuts the cotangent, then the stream; the whole of neither need be kept."""
        del dtaps

        def cut(y: Stream, after: PyTree) -> Halves:
            leaves, structure = jax.tree.flatten(y)
            halves = [
                materialize(partial(_cut, first=self.first), leaf, after=after) for leaf in leaves
            ]
            first, second = zip(*halves, strict=True)
            return jax.tree.unflatten(structure, first), jax.tree.unflatten(structure, second)

        dx = cut(dy, ())
        return cut(y, dx), dx, params
