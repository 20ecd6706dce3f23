"""Convolutions of size 1 and 3 for CPUs and TPUs, as matrix products, plane by plane.

XLA's own 3-D convolution and its gradients run several times below what the same CPU does in a
matrix product, and for a TPU it pads few channels to 128: two volumes of 1 GiB around a convolution
of 16 channels at 128^3 voxels. Here a loop walks the depth once. Of each plane it gathers the nine
in-plane neighbours of every voxel as columns (9c wide) and multiplies once by the kernel as it lies
in memory, a matrix (9c x 3o) that yields all three depth taps. Working memory: a few planes.

What comes before the convolution, a norm and an activation, is done to each plane as it passes, so
that neither it nor its cotangent is ever a volume. The gradients' walk gives the convolution's
value as well where that is wanted: both multiply the same columns.

A loop's first plane starts its sums. Zeros would depend on nothing: the compiler would set up one
volume of them for each convolution at the program's beginning and keep them all. For the same
reason no copy of a kernel is made, mirrored or transposed: it too would be made early and kept.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from invseg_jax.layers.execution import Precision
from invseg_jax.reversible import Accumulator
from invseg_jax.reversible.barrier import delay
from invseg_jax.reversible.layer import Array, PyTree

Prepare = Callable[[Array], Array]
Retract = Callable[[Array, Array], tuple[Array, PyTree]]


def unchanged(plane: Array) -> Array:
    """Prepares nothing."""
    return plane


def retract_unchanged(plane: Array, dplane: Array) -> tuple[Array, tuple]:
    """Leads back through `unchanged`."""
    del plane
    return dplane, ()


def rounded(x: Array, precision: Precision) -> Array:
    """Rounds to that type, but stays float32: a CPU multiplies that faster, to the same product."""
    if precision == "float32":
        return x
    kind = jnp.finfo(precision)
    return lax.reduce_precision(x, kind.nexp, kind.nmant)


def _edges(voxels: int, width: int) -> tuple[Array, Array]:
    """Which voxels of a flat plane have a left and a right neighbour: (1, voxels, 1) bool each."""
    place = lax.broadcasted_iota(jnp.int32, (1, voxels, 1), 1) % width
    return place > 0, place < width - 1


def _shift(plane: Array, by: int) -> Array:
    """(n, h*w, c) whose voxel p is the voxel p + by, and 0 beyond the plane's ends."""
    zero = jnp.zeros((), plane.dtype)
    return lax.pad(plane, zero, ((0, 0, 0), (-by, by, 0), (0, 0, 0)))


def _columns(plane: Array, width: int, kernel: Array) -> Array:
    """(n, h*w, c) -> (n, h*w, k l c): the in-plane neighbours of every voxel, zeros outside.

    Args:
        plane: the voxels.
        width: w.
        kernel: (k, l, c, m, o), whose neighbours these are.
    """
    high, wide = kernel.shape[:2]
    if wide == 1:
        return plane
    # A shift along the row takes a last voxel's right neighbour from the next row's beginning.
    has_left, has_right = _edges(plane.shape[1], width)
    sources = jnp.where(has_right, plane, 0.0), plane, jnp.where(has_left, plane, 0.0)
    shifted = [
        _shift(sources[j], (i - high // 2) * width + j - 1) for i in range(high) for j in range(3)
    ]
    return jnp.concatenate(shifted, axis=-1)


def _add_columns(columns: Array, width: int, kernel: Array) -> Array:
    """The transpose of `_columns`: (n, h*w, k l c) -> (n, h*w, c)."""
    high, wide = kernel.shape[:2]
    if wide == 1:
        return columns
    parts = jnp.split(columns, 3 * high, axis=-1)

    def back(j: int) -> Array:
        return sum(
            (_shift(parts[3 * i + j], (high // 2 - i) * width + 1 - j) for i in range(1, high)),
            start=_shift(parts[j], (high // 2) * width + 1 - j),
        )

    has_left, has_right = _edges(columns.shape[1], width)
    return jnp.where(has_right, back(0), 0.0) + back(1) + jnp.where(has_left, back(2), 0.0)


def _plane(x: Array, i: Array | int) -> Array:
    return lax.dynamic_index_in_dim(x, i, 1, keepdims=False)


def _set_plane(x: Array, plane: Array, i: Array | int) -> Array:
    return lax.dynamic_update_slice_in_dim(x, plane[:, None], i, axis=1)


def _volume(first: Array, depth: int) -> Array:
    """(n, h*w, c) -> (n, depth, h*w, c) with that plane in front, the rest to be filled in."""
    return jnp.pad(first[:, None], ((0, 0), (0, depth - 1), (0, 0), (0, 0)))


def _taps(columns: Array, kernel: Array, precision: Precision) -> list[Array]:
    """What a plane adds to the output planes after it, at it, and before it: (n, h*w, o) each."""
    deep, o = kernel.shape[-2:]
    n, voxels, _ = columns.shape
    matrix = rounded(kernel.reshape(-1, deep * o), precision)
    flat = columns.reshape(n * voxels, -1)
    product = jnp.matmul(flat, matrix, preferred_element_type=jnp.float32)
    product = product.reshape(n, voxels, deep * o)
    return [product[..., k * o : (k + 1) * o] for k in range(deep)]


class _Output(NamedTuple):
    """The correlation of size 3 while a loop walks the planes."""

    planes: Array
    at: Array
    """Of the plane at which the walk is, what it and the one before gave."""
    after: Array
    """Of the plane after it, what it gave."""

    @classmethod
    def begin(cls, taps: list[Array], depth: int, into: Accumulator | None) -> "_Output":
        """After plane 0. Nothing is done to the stream yet: outside the loop it would be copied."""
        to_after, to_at, _ = taps
        return cls(_volume(to_at, depth) if into is None else into.stream, to_at, to_after)

    def add(self, i: Array, taps: list[Array], into: Accumulator | None) -> "_Output":
        """After plane i: writes plane i - 1, which is whole now."""
        to_after, to_at, to_before = taps
        planes, depth = self.planes, self.planes.shape[1]
        at = self.after + to_at
        # Plane i is whole already if it is the last one; otherwise the next round writes it anew.
        two = jnp.stack((self.at + to_before, at), axis=1)
        if into is not None:
            here = lax.dynamic_slice_in_dim(planes, i - 1, 2, axis=1)
            whole = ((jnp.arange(2) == 0) | (i == depth - 1)).reshape(1, 2, 1, 1)
            two = jnp.where(whole, into.combine(here, two), here)
        # One write, of the very planes that were read: for two the compiler copies the stream.
        planes = lax.dynamic_update_slice_in_dim(planes, two, i - 1, axis=1)
        return _Output(planes, at, to_after)


def forward(
    x: Array,
    kernel: Array,
    width: int,
    *,
    prepare: Prepare = unchanged,
    precision: Precision = "float32",
    into: Accumulator | None = None,
) -> Array:
    """Cross-correlation of `prepare(x)` with zero padding and stride 1.

    Args:
        x: (n, d, h*w, c).
        kernel: (k, l, c, m, o) of 1 or 3 each, the axes height, width, in, depth, out; k and m are
            1 where l is.
        width: w.
        prepare: done to each plane (n, h*w, c) before.
        precision: type to which the factors are rounded.
        into: what takes the result where it lies, plane by plane, so that it is never a volume of
            its own.

    Returns:
        (n, d, h*w, o): float32, or what `into` makes of its stream.
    """
    d, deep = x.shape[1], kernel.shape[3]

    def taps_of(i: Array | int) -> list[Array]:
        plane = rounded(prepare(_plane(x, i)), precision)
        return _taps(_columns(plane, width, kernel), kernel, precision)

    if deep == 3 and d > 1:

        def add_plane(i: Array, output: _Output) -> _Output:
            return output.add(i, taps_of(i), into)

        return lax.fori_loop(1, d, add_plane, _Output.begin(taps_of(0), d, into)).planes
    if d == 1:
        middle = taps_of(0)[deep // 2][:, None]
        return middle if into is None else into.combine(into.stream, middle)

    def map_plane(i: Array, out: Array) -> Array:
        (plane,) = taps_of(i)
        return _set_plane(out, plane if into is None else into.combine(_plane(out, i), plane), i)

    start = _volume(taps_of(0)[0], d) if into is None else into.stream
    return lax.fori_loop(0, d, map_plane, start)


def gradients(
    x: Array,
    kernel: Array,
    dy: Array,
    width: int,
    *,
    prepare: Prepare = unchanged,
    retract: Retract = retract_unchanged,
    precision: Precision = "float32",
    into: Accumulator | None = None,
) -> tuple[Array, Array, PyTree, Array | None]:
    """The gradients of `forward`, and if wanted its value too, all in one walk over the planes.

        dkernel = sum_i columns_i^T three_i,   dx_i = the transpose of columns (three_i kernel^T)

    where three_i are the planes i + 1, i and i - 1 of dy, to which plane i of x contributed. The
    examples are summed after the loop: spread over devices they then meet once, not at each plane.

    Args:
        x: (n, d, h*w, c).
        kernel: (k, l, c, m, o).
        dy: the cotangent of the output, (n, d, h*w, o).
        width: w.
        prepare: as in `forward`.
        retract: of a plane of x and the cotangent of its preparation, gives what is wanted as a
            plane of dx, and a pytree that is summed over the planes.
        precision: type to which the factors are rounded.
        into: as in `forward`.

    Returns:
        dx of x's shape, dkernel of the kernel's shape, and the sums, all float32; and what `into`
        makes of its stream, bit for bit as `forward` does it.
    """
    d, deep = x.shape[1], kernel.shape[3]
    together = into is not None and deep == 3 and d > 1

    def dy_plane(i: Array) -> Array:
        inside = ((i >= 0) & (i < d)).astype(dy.dtype)
        return _plane(dy, jnp.clip(i, 0, d - 1)) * inside

    def of_plane(i: Array, after: PyTree = ()) -> tuple[Array, tuple[Array, PyTree], list[Array]]:
        three = [dy_plane(i + 1), dy_plane(i), dy_plane(i - 1)] if deep == 3 else [_plane(dy, i)]
        three = rounded(delay(jnp.concatenate(three, axis=-1), after), precision)
        plane = _plane(x, i)
        columns = _columns(rounded(prepare(plane), precision), width, kernel)
        dtaps = lax.dot_general(
            columns, three, (((1,), (1,)), ((0,), (0,))), preferred_element_type=jnp.float32
        )
        matrix = rounded(kernel.reshape(-1, three.shape[-1]), precision)
        dcolumns = lax.dot_general(
            three.reshape(-1, three.shape[-1]),
            matrix,
            (((1,), (1,)), ((), ())),
            preferred_element_type=jnp.float32,
        ).reshape(columns.shape)
        dplane, sums = retract(plane, _add_columns(dcolumns, width, kernel))
        return dplane, (dtaps, sums), _taps(columns, kernel, precision) if together else []

    def add_plane(i: Array, carry: tuple[Array, tuple[Array, PyTree], _Output | None]):
        dx, sums, output = carry
        dplane, more, taps = of_plane(i)
        if output is not None:
            output = output.add(i, taps, into)
        return _set_plane(dx, dplane, i), jax.tree.map(jnp.add, sums, more), output

    # Not before x is there, though half of it could be: the working memory would be held for long.
    dplane, sums, taps = of_plane(jnp.zeros((), jnp.int32), after=x)
    output = _Output.begin(taps, d, into) if together else None
    dx, (dtaps, sums), output = lax.fori_loop(1, d, add_plane, (_volume(dplane, d), sums, output))
    stream = None if output is None else output.planes
    if into is not None and stream is None:
        stream = forward(x, kernel, width, prepare=prepare, precision=precision, into=into)
    return dx, dtaps.sum(axis=0).reshape(kernel.shape), sums, stream


def over(function: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    """`function` of the planes of a and b, in the place of a."""

    def set_plane(i: Array, a: Array) -> Array:
        return _set_plane(a, function(_plane(a, i), _plane(b, i)), i)

    return lax.fori_loop(0, a.shape[1], set_plane, a)


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance of each example and channel, both (n, c), without cancellation.

    Each plane's own mean is taken off before squaring:
    var = mean_i var_i + mean_i (mean_i - mean)^2.
    """

    def of_plane(plane: Array) -> tuple[Array, Array]:
        mean = plane.mean(axis=1)
        return mean, jnp.square(plane - mean[:, None]).mean(axis=1)

    def set_plane(i: Array, rows: tuple[Array, Array]) -> tuple[Array, Array]:
        update = partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        mean, variance = of_plane(_plane(x, i))
        return update(rows[0], mean), update(rows[1], variance)

    first = jax.tree.map(
        lambda row: jnp.pad(row[None], ((0, x.shape[1] - 1), (0, 0), (0, 0))),
        of_plane(_plane(x, 0)),
    )
    means, variances = lax.fori_loop(1, x.shape[1], set_plane, first)
    mean = means.mean(axis=0)
    return mean, variances.mean(axis=0) + jnp.square(means - mean[None]).mean(axis=0)
