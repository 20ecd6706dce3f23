"""What an invertible layer is: three functions over pytrees of arrays.

    forward(params, x)               -> y, taps
    inverse(params, y)               -> x
    pullback(params, y, dy, dtaps)   -> x, dx, dparams

`params` is any pytree that the layer's own functions understand. `taps` are activations that leave
the trunk by name on the way (see `Tap`); most layers have none. A random key, where given, is an
argument like any other: the same key replays the same dropout mask in all three functions.

A layer that is made of layers gives them as `parts`; what is done to every layer of a composition
(`walk`) asks for nothing else.
"""

from collections.abc import Mapping
from typing import Any

import jax

from invseg_jax.reversible.arithmetic import Arithmetic

Array = jax.Array
PyTree = Any  # a pytree of arrays; JAX has no narrower type
Params = PyTree
Stream = PyTree
Taps = Mapping[str, PyTree]


class Layer:
    """An invertible layer; subclasses give `forward` and `inverse`, and `pullback` where it pays.

    Subclasses are frozen dataclasses that hold structure only. All arrays come in as arguments, so
    that one gradient rule around a whole composition sees everything it has to differentiate.
    """

    @property
    def parts(self) -> "tuple[Layer, ...]":
        """The layers that this one is made of; none of an elementary layer."""
        return ()

    def with_parts(self, parts: "tuple[Layer, ...]") -> "Layer":
        """The same composition of other layers, as many as `parts` are."""
        if parts:
            raise ValueError(f"{type(self).__name__} is an elementary layer and has no parts")
        return self

    def own_arithmetic(self) -> Arithmetic | None:
        """In which numbers this layer, its parts aside, adds to the stream; None: it does not."""
        return None

    def tap_names(self) -> frozenset[str]:
        """The names of the taps that `forward` gives."""
        return frozenset().union(*(part.tap_names() for part in self.parts))

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """Returns y = f(x) and the taps passed on the way."""
        raise NotImplementedError(type(self).__name__)

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """Returns x with f(x) = y."""
        raise NotImplementedError(type(self).__name__)

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """Reconstructs the input from the output and differentiates, in one pass.

        This default inverts and then differentiates `forward` at the result: right for any layer
        that is cheap and has no taps. Couplings and compositions have their own.

        Args:
            params: the layer's parameters.
            y: the output that `forward` gave.
            dy: the cotangent of y, of the same structure.
            dtaps: the cotangents of the taps inside this layer, by name.
            key: the key that `forward` was given.

        Returns:
            x, its cotangent dx, and the cotangent of params.
        """
        del dtaps
        x = self.inverse(params, y, key)
        _, transpose = jax.vjp(lambda params, x: self.forward(params, x, key)[0], params, x)
        dparams, dx = transpose(dy)
        return x, dx, dparams

    def inverse_pullback(
        self, params: Params, x: Stream, dx: Stream, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """The pullback of `inverse`: `pullback` with input and output exchanged.

        For layers without taps. The default differentiates `inverse`, as `pullback` does `forward`.

        Args:
            params: the layer's parameters.
            x: what `inverse` gave.
            dx: the cotangent of x.
            key: the key that `inverse` was given.

        Returns:
            y, its cotangent dy, and the cotangent of params.
        """
        y, _ = self.forward(params, x, key)
        _, transpose = jax.vjp(lambda params, y: self.inverse(params, y, key), params, y)
        dparams, dy = transpose(dx)
        return y, dy, dparams


class Permutation(Layer):
    """A layer without parameters that only moves numbers: exact, and its inverse its transpose."""

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """Moves the stream and its cotangent back in the same way."""
        del dtaps
        return self.inverse(params, y, key), self.inverse(params, dy, key), params

    def inverse_pullback(
        self, params: Params, x: Stream, dx: Stream, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """Moves both on in the same way."""
        return self.forward(params, x, key)[0], self.forward(params, dx, key)[0], params
