"""Additive coupling: the layer that makes any network branch invertible."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from invseg_jax.reversible.arithmetic import FLOAT, Arithmetic
from invseg_jax.reversible.layer import Array, Layer, Params, Taps

Pair = tuple[Array, Array]


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
        branch: F, called as `branch(params, x2, key)`; pure, and of the shape of x1. The halves may
            differ in channels.
        arithmetic: of the stream.
        onto: called as `onto(params, x2, key, (stream, combine, after))`, it gives
            combine(stream, F(x2)) in the stream's place, without holding F(x2) beside it, once the
            arrays `after` are there; bit for bit the F of `branch`.
    """

    branch: Callable[[Params, Array, Array | None], Array]
    arithmetic: Arithmetic = FLOAT
    onto: Callable[..., Array] | None = None

    def forward(self, params: Params, x: Pair, key: Array | None = None) -> tuple[Pair, Taps]:
        """(x1, x2) -> (x2, x1 + F(x2))."""
        x1, x2 = x
        f = self.branch(params, self.arithmetic.decode(x2), key)
        return (x2, self.arithmetic.add(x1, f)), {}

    def inverse(self, params: Params, y: Pair, key: Array | None = None) -> Pair:
        """(y1, y2) -> (y2 - F(y1), y1)."""
        return self._inverse(params, y, key, after=())

    def _inverse(self, params: Params, y: Pair, key: Array | None, *, after: Any) -> Pair:
        y1, y2 = y
        x2, subtract = self.arithmetic.decode(y1), self.arithmetic.subtract
        if self.onto is not None:
            return self.onto(params, x2, key, (y2, subtract, after)), y1
        return subtract(y2, self.branch(params, x2, key)), y1

    def pullback(
        self, params: Params, y: Pair, dy: Pair, dtaps: Taps, key: Array | None = None
    ) -> tuple[Pair, Pair, Params]:
        """One evaluation of F and one of its transpose."""
        del dtaps
        (y1, y2), (dy1, dy2) = y, dy
        x2 = self.arithmetic.decode(y1)
        f, transpose = jax.vjp(lambda params, x2: self.branch(params, x2, key), params, x2)
        dparams, dx2 = transpose(dy2)
        if self.onto is None:
            x1 = self.arithmetic.subtract(y2, f)
        else:
            # Then f stands unused and is not computed. The stream waits for the cotangent, so that
            # the layer behind is done with y2 when it is overwritten.
            x1, _ = self._inverse(params, y, key, after=dy2)
        return (x1, y1), (dy2, dy1 + dx2), dparams
