"""Convolutions of size 1 and 3 by the compiler's own kernels, for GPUs, whole or in slabs.

Same functions as `plane_conv`. With slabs, a loop walks pieces of the depth, each with the one
plane on either side that a 3x3x3 kernel reads, so that what comes before the convolution, and all
cotangents but the input's, are never a whole volume.
"""

import jax
import jax.numpy as jnp
from jax import lax

from invseg_jax.layers.execution import Precision
from invseg_jax.layers.plane_conv import (
    Prepare,
    Retract,
    retract_unchanged,
    rounded,
    unchanged,
)
from invseg_jax.reversible import Accumulator, Planes
from invseg_jax.reversible.layer import Array, PyTree


def _conv(x: Array, kernel: Array, precision: Precision, *, padding: int) -> Array:
    """(n, d, h, w, c), (k, l, c, m, o) -> (n, d + 2 padding - m + 1, h, w, o) float32."""
    # Rounded by name: a compiler may leave out a mere cast there and back.
    x, kernel = (
        rounded(x, precision).astype(precision),
        rounded(kernel, precision).astype(precision),
    )
    high, wide = kernel.shape[:2]
    if wide == 1:
        return jnp.matmul(x, kernel[0, 0, :, 0]).astype(jnp.float32)
    y = lax.conv_general_dilated(
        x,
        kernel.transpose(3, 0, 1, 2, 4),
        window_strides=(1, 1, 1),
        padding=((padding, padding), (high // 2, high // 2), (1, 1)),
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )
    return y.astype(jnp.float32)


def _transposed(kernel: Array) -> Array:
    """The kernel that takes the output's cotangent to the input's: mirrored, channels exchanged."""
    return jnp.flip(kernel, (0, 1, 3)).transpose(0, 1, 4, 3, 2)


class _Slabs:
    """Equal pieces of the depth: as many as divide it, at most as wanted."""

    def __init__(self, depth: int, wanted: int, kernel: Array):
        self.count = max(k for k in range(1, min(wanted, depth) + 1) if depth % k == 0)
        self.planes = depth // self.count
        self.last = depth - 1
        self.halo = kernel.shape[3] // 2

    def of(self, x: Array, i: Array) -> Array:
        """(n, d, ...) -> (n, planes, ...): piece i."""
        return lax.dynamic_slice_in_dim(x, i * self.planes, self.planes, axis=1)

    def around(self, x: Array, i: Array, prepare: Prepare = unchanged) -> Array:
        """(n, d, ...) -> (n, planes + 2 halo, ...): piece i, prepared, with zeros outside x."""
        piece = self.of(x, i)
        if not self.halo:
            return prepare(piece)
        first, after = i * self.planes, (i + 1) * self.planes
        parts = (
            lax.dynamic_slice_in_dim(x, jnp.maximum(first - 1, 0), 1, axis=1),
            piece,
            lax.dynamic_slice_in_dim(x, jnp.minimum(after, self.last), 1, axis=1),
        )
        place = first - 1 + jnp.arange(self.planes + 2)
        inside = ((place >= 0) & (place <= self.last)).reshape(1, -1, 1, 1, 1)
        return prepare(jnp.concatenate(parts, axis=1)) * inside.astype(x.dtype)

    def put(self, x: Array, piece: Array, i: Array) -> Array:
        """Writes piece i into x."""
        return lax.dynamic_update_slice_in_dim(x, piece, i * self.planes, axis=1)


def forward(
    x: Array,
    kernel: Array,
    width: int,
    *,
    prepare: Prepare = unchanged,
    precision: Precision = "float32",
    into: Accumulator | None = None,
    slabs: int = 1,
) -> Array:
    """See `plane_conv.forward`; `prepare` and `into` get pieces (n, planes, h, w, c)."""
    volume = Planes(x, width).volume
    pieces = _Slabs(volume.shape[1], slabs, kernel)
    if into is None:
        stream = jnp.zeros((*volume.shape[:-1], kernel.shape[-1]), jnp.float32)
    else:
        stream = Planes(into.stream, width).volume
    if pieces.count == 1:
        y = _conv(prepare(volume), kernel, precision, padding=pieces.halo)
        return Planes.of(y if into is None else into.combine(stream, y)).rows

    def add_piece(i: Array, stream: Array) -> Array:
        piece = _conv(pieces.around(volume, i, prepare), kernel, precision, padding=0)
        if into is not None:
            piece = into.combine(pieces.of(stream, i), piece)
        return pieces.put(stream, piece, i)

    return Planes.of(lax.fori_loop(0, pieces.count, add_piece, stream)).rows


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
    slabs: int = 1,
) -> tuple[Array, Array, PyTree, Array | None]:
    """See `plane_conv.gradients`; `prepare` and `retract` get pieces (n, planes, h, w, c)."""
    stream = None
    if into is not None:
        stream = forward(
            x, kernel, width, prepare=prepare, precision=precision, into=into, slabs=slabs
        )
    # Keeps the reconstruction's evaluation apart from the gradient's: merged, the same sum could
    # come to other bits than in the forward pass.
    volume, dvolume = Planes(x, width).volume, Planes(dy, width).volume
    volume, dvolume, stream = lax.optimization_barrier((volume, dvolume, stream))
    pieces = _Slabs(volume.shape[1], slabs, kernel)

    def of_piece(
        x: Array, around: Array, dy: Array, dy_around: Array, padding: int
    ) -> tuple[Array, tuple[Array, PyTree]]:
        def conv(kernel: Array) -> Array:
            return _conv(around, kernel, precision, padding=padding)

        (dkernel,) = jax.vjp(conv, kernel)[1](dy)
        dprepared = _conv(dy_around, _transposed(kernel), precision, padding=padding)
        dx, sums = retract(x, dprepared)
        return dx, (dkernel, sums)

    if pieces.count == 1:
        dx, (dkernel, sums) = of_piece(volume, prepare(volume), dvolume, dvolume, pieces.halo)
        return Planes.of(dx).rows, dkernel, sums, stream

    def at(i: Array) -> tuple[Array, tuple[Array, PyTree]]:
        around, dy_around = pieces.around(volume, i, prepare), pieces.around(dvolume, i)
        return of_piece(pieces.of(volume, i), around, pieces.of(dvolume, i), dy_around, 0)

    def add_piece(i: Array, carry: tuple[Array, tuple[Array, PyTree]]):
        dx, sums = carry
        piece, more = at(i)
        return pieces.put(dx, piece, i), jax.tree.map(jnp.add, sums, more)

    _, shapes = jax.eval_shape(at, jnp.zeros((), jnp.int32))
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    dx = jnp.zeros(volume.shape, jnp.float32)
    dx, (dkernel, sums) = lax.fori_loop(0, pieces.count, add_piece, (dx, zeros))
    return Planes.of(dx).rows, dkernel, sums, stream
