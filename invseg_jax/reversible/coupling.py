"""Additive coupling: the layer that makes any network branch invertible."""

from collections.abc import Callable
from dataclasses import dataclass

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
    """

    branch: Callable[[Params, Array, Array | None], Array]
    arithmetic: Arithmetic = FLOAT

    def forward(self, params: Params, x: Pair, key: Array | None = None) -> tuple[Pair, Taps]:
        """(x1, x2) -> (x2, x1 + F(x2))."""
        x1, x2 = x
        f = self.branch(params, self.arithmetic.decode(x2), key)
        return (x2, self.arithmetic.add(x1, f)), {}

    def inverse(self, params: Params, y: Pair, key: Array | None = None) -> Pair:
        """(y1, y2) -> (y2 - F(y1), y1)."""
        y1, y2 = y
        f = self.branch(params, self.arithmetic.decode(y1), key)
        return self.arithmetic.subtract(y2, f), y1

    def pullback(
        self, params: Params, y: Pair, dy: Pair, dtaps: Taps, key: Array | None = None
    ) -> tuple[Pair, Pair, Params]:
        """One evaluation of F and one of its transpose."""
        del dtaps
        (y1, y2), (dy1, dy2) = y, dy
        x2 = self.arithmetic.decode(y1)
        f, transpose = jax.vjp(lambda params, x2: self.branch(params, x2, key), params, x2)
        dparams, dx2 = transpose(dy2)
        return (self.arithmetic.subtract(y2, f), y1), (dy2, dy1 + dx2), dparams
