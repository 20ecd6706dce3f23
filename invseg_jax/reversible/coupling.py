"""Additive coupling: the layer that makes any network branch invertible."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from invseg_jax.reversible.arithmetic import FLOAT, Arithmetic
from invseg_jax.reversible.layer import Array, Layer, Params, Stream, Taps
from invseg_jax.reversible.planes import Planes

Halves = tuple[Stream, Stream]


class Accumulator(NamedTuple):
    """A stream that takes a branch's value where it lies, without a volume for the value.

    Attributes:
        stream: the half that the branch's value is added to or subtracted from.
        combine: called as combine(stream, value) on parts of both, elementwise.
    """

    stream: Stream
    combine: Callable[[Array, Array], Array]


class InPlace(NamedTuple):
    """A branch F that can be done in a stream's place, bit for bit the F of the branch itself.

    Attributes:
        evaluate: called as `evaluate(params, x, key, into)`; gives combine(stream, F(x)).
        pullback: called as `pullback(params, x, key, into, df)`; gives the same, and for the
            cotangent df of F(x) the cotangents of x and params, in one pass.
    """

    evaluate: Callable[[Params, Stream, Array | None, Accumulator], Stream]
    pullback: Callable[
        [Params, Stream, Array | None, Accumulator, Stream], tuple[Stream, Stream, Params]
    ]


@dataclass(frozen=True)
class AdditiveCoupling(Layer):
    """Adds a function of one half of the stream to the other half, and swaps the two.

        forward   y1 = x2,             y2 = x1 + F(x2)
        inverse   x2 = y1,             x1 = y2 - F(y1)
        pullback  dx1 = dy2,           dx2 = dy1 + (dF/dx2)^T dy2

    This is the "half" coupling of iUNets (Etmann et al. 2020, section 3); two in a row are one
    RevNet block (Gomez et al. 2017, equations 6 to 8). F is evaluated once forward and once in the
    pullback, where its value serves the reconstruction and its linearisation the gradient.

    Attributes:
        branch: F, called as `branch(params, x2, key)` with an array, a volume where x2 is `Planes`;
            pure, and of the shape of x1. The halves may differ in channels.
        arithmetic: of the stream.
        in_place: F done in the stream's place, where that is `Planes`: inside of
            `run(..., memory="reversible")`, where JAX differentiates no coupling.
    """

    branch: Callable[[Params, Array, Array | None], Array]
    arithmetic: Arithmetic = FLOAT
    in_place: InPlace | None = None

    def forward(self, params: Params, x: Halves, key: Array | None = None) -> tuple[Halves, Taps]:
        """(x1, x2) -> (x2, x1 + F(x2))."""
        x1, x2 = x
        return (x2, self._combined(params, x1, x2, key, self.arithmetic.add)), {}

    def inverse(self, params: Params, y: Halves, key: Array | None = None) -> Halves:
        """(y1, y2) -> (y2 - F(y1), y1)."""
        y1, y2 = y
        return self._combined(params, y2, y1, key, self.arithmetic.subtract), y1

    def pullback(
        self, params: Params, y: Halves, dy: Halves, dtaps: Taps, key: Array | None = None
    ) -> tuple[Halves, Halves, Params]:
        """One evaluation of F and one of its transpose."""
        del dtaps
        (y1, y2), (dy1, dy2) = y, dy
        x1, dx2, dparams = self._pulled(params, y2, y1, key, self.arithmetic.subtract, dy2)
        return (x1, y1), (dy2, jax.tree.map(jnp.add, dy1, dx2)), dparams

    def inverse_pullback(
        self, params: Params, x: Halves, dx: Halves, key: Array | None = None
    ) -> tuple[Halves, Halves, Params]:
        """Dy1 = dx2 - (dF/dy1)^T dx1,   dy2 = dx1."""
        (x1, x2), (dx1, dx2) = x, dx
        df = jax.tree.map(jnp.negative, dx1)
        y2, dy1, dparams = self._pulled(params, x1, x2, key, self.arithmetic.add, df)
        return (x2, y2), (jax.tree.map(jnp.add, dx2, dy1), dx1), dparams

    def own_arithmetic(self) -> Arithmetic:
        """That of the additions."""
        return self.arithmetic

    def _pulled(
        self,
        params: Params,
        stream: Stream,
        other: Stream,
        key: Array | None,
        combine: Callable[[Array, Array], Array],
        df: Stream,
    ) -> tuple[Stream, Stream, Params]:
        """`_combined`, and for the cotangent df of F those of the other half and of params."""
        x2 = self._decoded(other)
        if self.in_place is not None and isinstance(x2, Planes):
            return self.in_place.pullback(params, x2, key, Accumulator(stream, combine), df)
        f, transpose = jax.vjp(lambda params, x2: self._value(params, x2, key), params, x2)
        dparams, dx2 = transpose(df)
        return jax.tree.map(combine, stream, f), dx2, dparams

    def _combined(
        self,
        params: Params,
        stream: Stream,
        other: Stream,
        key: Array | None,
        combine: Callable[[Array, Array], Array],
    ) -> Stream:
        """The stream with F of the other half added or subtracted."""
        x2 = self._decoded(other)
        if self.in_place is not None and isinstance(x2, Planes):
            return self.in_place.evaluate(params, x2, key, Accumulator(stream, combine))
        return jax.tree.map(combine, stream, self._value(params, x2, key))

    def _value(self, params: Params, x2: Stream, key: Array | None) -> Stream:
        if isinstance(x2, Planes):
            return Planes.of(self.branch(params, x2.volume, key))
        return self.branch(params, x2, key)

    def _decoded(self, x: Stream) -> Stream:
        return jax.tree.map(self.arithmetic.decode, x)
