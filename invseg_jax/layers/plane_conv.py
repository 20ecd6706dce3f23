"""Convolutions of size 1 and 3 for CPUs, as matrix products, plane by plane along the depth.

XLA's own 3-D convolution and its gradients run several times below what the same CPU does in a
matrix product. Here a loop walks the depth once. Of each plane it gathers the nine in-plane
neighbours of every voxel as columns (9c wide) and multiplies once by the kernel as it lies in
memory, a matrix (9c x 3o) that yields all three depth taps. Working memory: a few planes.

What comes before the convolution, a norm and an activation, is done to each plane as it passes, so
that neither it nor its cotangent is ever a volume.

A loop's first plane starts its sums. Zeros would depend on nothing: the compiler would set up one
volume of them for each convolution at the program's beginning and keep them all. For the same
reason no copy of a kernel is made, mirrored or transposed: it too would be made early and kept.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from invseg_jax.layers.execution import Precision
from invseg_jax.reversible.barrier import wait
from invseg_jax.reversible.layer import Array

Prepare = Callable[[Array], Array]
Retract = Callable[[Array, Array], tuple[Array, Any]]
Combine = Callable[[Array, Array], Array]
Onto = tuple[Array, Combine, Any]


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


def _columns(plane: Array, size: int) -> Array:
    """(n, h, w, c) -> (n, h*w, size^2 c): the in-plane neighbours of every voxel, zeros outside."""
    n, h, w, c = plane.shape
    if size == 1:
        return plane.reshape(n, h * w, c)
    padded = jnp.pad(plane, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1).reshape(n, h * w, 9 * c)


def _add_columns(columns: Array, shape: tuple[int, ...], size: int) -> Array:
    """The transpose of `_columns`: (n*h*w, size^2 c) -> shape (n, h, w, c)."""
    n, h, w, c = shape
    if size == 1:
        return columns.reshape(shape)
    around = ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0))
    columns = jnp.pad(columns.reshape(n, h, w, 9, c), around)
    shifted = [
        columns[:, 2 - i : 2 - i + h, 2 - j : 2 - j + w, 3 * i + j]
        for i in range(3)
        for j in range(3)
    ]
    return sum(shifted[1:], start=shifted[0])


def _plane(x: Array, i: Array | int) -> Array:
    return lax.dynamic_index_in_dim(x, i, 1, keepdims=False)


def _set_plane(x: Array, plane: Array, i: Array | int) -> Array:
    return lax.dynamic_update_slice_in_dim(x, plane[:, None], i, axis=1)


def _volume(first: Array, depth: int) -> Array:
    """(n, h, w, c) -> (n, depth, h, w, c) with that plane in front, the rest to be filled in."""
    return jnp.pad(first[:, None], ((0, 0), (0, depth - 1), (0, 0), (0, 0), (0, 0)))


def forward(
    x: Array,
    kernel: Array,
    *,
    prepare: Prepare = unchanged,
    precision: Precision = "float32",
    onto: Onto | None = None,
) -> Array:
    """Cross-correlation of `prepare(x)` with zero padding and stride 1.

    Args:
        x: (n, d, h, w, c).
        kernel: (k, k, c, k, o) with k = 1 or 3, the axes height, width, in, depth, out.
        prepare: done to each plane (n, h, w, c) before.
        precision: type to which the factors are rounded.
        onto: (stream, combine, after): the result is combine(stream, that), done plane by plane in
            the stream's place, so that the correlation is never a volume of its own, and not before
            the arrays `after` are there.

    Returns:
        (n, d, h, w, o), float32 or as the stream is.
    """
    n, d, h, w, c = x.shape
    size, o = kernel.shape[0], kernel.shape[-1]

    def taps_of(plane: Array) -> list[Array]:
        """What a plane adds to the output planes after it, at it, and before it."""
        columns = _columns(rounded(prepare(plane), precision), size).reshape(n * h * w, -1)
        taps = rounded(kernel.reshape(-1, size * o), precision)
        product = jnp.matmul(columns, taps, preferred_element_type=jnp.float32)
        product = product.reshape(n, h, w, size * o)
        return [product[..., k * o : (k + 1) * o] for k in range(size)]

    stream, combine, after = onto or (None, None, ())
    first = taps_of(wait(x[:, 0], after))
    if d == 1:
        middle = first[size // 2][:, None]
        return middle if stream is None or combine is None else combine(stream, middle)
    # All that is done to the stream is done in the loop: behind it, it could become a copy.
    out = _volume(first[size // 2], d) if stream is None else stream

    if size == 1:

        def map_plane(i: Array, out: Array) -> Array:
            (plane,) = taps_of(_plane(x, i))
            return _set_plane(out, plane if combine is None else combine(_plane(out, i), plane), i)

        return lax.fori_loop(0, d, map_plane, out)

    def add_plane(i: Array, carry: tuple[Array, Array, Array]):
        # Of the output planes i - 1 and i, what earlier planes gave.
        out, before, at = carry
        to_after, to_at, to_before = taps_of(_plane(x, i))
        at = at + to_at
        # Plane i is whole already if it is the last one; otherwise the next round writes it anew.
        two = jnp.stack((before + to_before, at), axis=1)
        if combine is not None:
            here = lax.dynamic_slice_in_dim(out, i - 1, 2, axis=1)
            whole = ((jnp.arange(2) == 0) | (i == d - 1)).reshape(1, 2, 1, 1, 1)
            two = jnp.where(whole, combine(here, two), here)
        # One write, of the very planes that were read: for two the compiler copies the stream.
        return lax.dynamic_update_slice_in_dim(out, two, i - 1, axis=1), at, to_after

    after_first, at_first, _ = first
    return lax.fori_loop(1, d, add_plane, (out, at_first, after_first))[0]


def gradients(
    x: Array,
    kernel: Array,
    dy: Array,
    *,
    prepare: Prepare = unchanged,
    retract: Retract = retract_unchanged,
    precision: Precision = "float32",
) -> tuple[Array, Array, Any]:
    """The gradients of `forward`, all in one walk over the planes.

        dkernel = sum_i columns_i^T three_i,   dx_i = the transpose of columns (three_i kernel^T)

    where three_i are the planes i + 1, i and i - 1 of dy, to which plane i of x contributed. The
    examples are summed after the loop: spread over devices they then meet once, not at each plane.

    Args:
        x: (n, d, h, w, c).
        kernel: (k, k, c, k, o).
        dy: the cotangent of the output, (n, d, h, w, o).
        prepare: as in `forward`.
        retract: of a plane of x and the cotangent of its preparation, gives what is wanted as a
            plane of dx, and a pytree that is summed over the planes.
        precision: type to which the factors are rounded.

    Returns:
        dx of x's shape, dkernel of the kernel's shape, and the sums; all float32.
    """
    n, d, h, w, _ = x.shape
    size, o = kernel.shape[0], kernel.shape[-1]

    def dy_plane(i: Array) -> Array:
        inside = ((i >= 0) & (i < d)).astype(dy.dtype)
        return _plane(dy, jnp.clip(i, 0, d - 1)) * inside

    def of_plane(plane: Array, i: Array, after: Any = ()) -> tuple[Array, tuple[Array, Any]]:
        three = [dy_plane(i + 1), dy_plane(i), dy_plane(i - 1)] if size == 3 else [_plane(dy, i)]
        three = rounded(wait(jnp.concatenate(three, axis=-1), after), precision)
        three = three.reshape(n, h * w, size * o)
        prepared = prepare(plane)
        dtaps = lax.dot_general(
            _columns(rounded(prepared, precision), size),
            three,
            (((1,), (1,)), ((0,), (0,))),
            preferred_element_type=jnp.float32,
        )
        dcolumns = lax.dot_general(
            three.reshape(n * h * w, size * o),
            rounded(kernel.reshape(-1, size * o), precision),
            (((1,), (1,)), ((), ())),
            preferred_element_type=jnp.float32,
        )
        dplane, sums = retract(plane, _add_columns(dcolumns, prepared.shape, size))
        return dplane, (dtaps, sums)

    def add_plane(i: Array, carry: tuple[Array, tuple[Array, Any]]):
        dx, sums = carry
        dplane, more = of_plane(_plane(x, i), i)
        return _set_plane(dx, dplane, i), jax.tree.map(jnp.add, sums, more)

    # Not before x is there, though half of it could be: the working memory would be held for long.
    dplane, sums = of_plane(x[:, 0], jnp.zeros((), jnp.int32), after=x)
    dx, (dtaps, sums) = lax.fori_loop(1, d, add_plane, (_volume(dplane, d), sums))
    return dx, dtaps.sum(axis=0).reshape(kernel.shape), sums


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
        mean = plane.mean(axis=(1, 2))
        return mean, jnp.square(plane - mean[:, None, None]).mean(axis=(1, 2))

    def set_plane(i: Array, rows: tuple[Array, Array]) -> tuple[Array, Array]:
        update = partial(lax.dynamic_update_index_in_dim, index=i, axis=0)
        mean, variance = of_plane(_plane(x, i))
        return update(rows[0], mean), update(rows[1], variance)

    first = jax.tree.map(
        lambda row: jnp.pad(row[None], ((0, x.shape[1] - 1), (0, 0), (0, 0))), of_plane(x[:, 0])
    )
    means, variances = lax.fori_loop(1, x.shape[1], set_plane, first)
    mean = means.mean(axis=0)
    return mean, variances.mean(axis=0) + jnp.square(means - mean[None]).mean(axis=0)
