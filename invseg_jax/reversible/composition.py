"""What layers are composed with beside chains: split, tap, inverse, and the U made of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from invseg_jax.reversible.barrier import materialize
from invseg_jax.reversible.chain import Chain
from invseg_jax.reversible.layer import Array, Layer, Params, Stream, Taps


@dataclass(frozen=True)
class Split(Layer):
    """Part of the channels goes through an inner layer, the other waits: a skip connection.

        forward   (s, r) = x;   y = (s, g(r))
        inverse   (s, t) = y;   x = (s, g^-1(t))

    Attributes:
        skip: how many channels wait, the first ones.
        inner: g, of as many channels out as in; params are g's.
    """

    skip: int
    inner: Layer

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The inner layer."""
        return (self.inner,)

    def with_parts(self, parts: tuple[Layer, ...]) -> "Split":
        """Another inner layer."""
        (inner,) = parts
        return replace(self, inner=inner)

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """(..., c) -> (..., c)."""
        rest, taps = self.inner.forward(params, self._rest(x), key)
        return jax.tree.map(self._put, x, rest), taps

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """Inverts the inner layer on its part."""
        return jax.tree.map(self._put, y, self.inner.inverse(params, self._rest(y), key))

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """The waiting part passes unchanged, and so does its cotangent."""
        pulled = self.inner.pullback(params, self._rest(y), self._rest(dy), dtaps, key)
        return self._put_both(y, dy, pulled)

    def inverse_pullback(
        self, params: Params, x: Stream, dx: Stream, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """As `pullback`, of the inner layer's inverse."""
        pulled = self.inner.inverse_pullback(params, self._rest(x), self._rest(dx), key)
        return self._put_both(x, dx, pulled)

    def _put_both(self, y: Stream, dy: Stream, pulled: tuple) -> tuple[Stream, Stream, Params]:
        rest, drest, dparams = pulled
        x = jax.tree.map(partial(materialize, self._put), y, rest)
        return x, jax.tree.map(partial(materialize, self._put, after=x), dy, drest), dparams

    def _rest(self, x: Stream) -> Stream:
        def rest_of(x: Array) -> Array:
            if not 0 < self.skip < x.shape[-1]:
                raise ValueError(f"split: a skip of {self.skip} out of {x.shape[-1]} channels")
            return x[..., self.skip :]

        return jax.tree.map(rest_of, x)

    def _put(self, whole: Array, rest: Array) -> Array:
        return jnp.concatenate((whole[..., : self.skip], rest), axis=-1)


@dataclass(frozen=True)
class Tap(Layer):
    """Lets the stream at this place leave the trunk as a further output.

        forward   y = x,   taps[name] = x
        pullback  dx = dy + dtaps[name]

    An auxiliary head or a decoder of its own hangs on a tap; the trunk stays invertible.
    """

    name: str

    def tap_names(self) -> frozenset[str]:
        """Its own."""
        return frozenset((self.name,))

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """The identity, with a copy for outside."""
        return x, {self.name: x}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """The identity."""
        return y

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """Adds the cotangent that came back through the tap, if one was let out."""
        if self.name not in dtaps:
            return y, dy, params
        return y, jax.tree.map(lambda a, b: a + b, dy, dtaps[self.name]), params


@dataclass(frozen=True)
class Inverse(Layer):
    """The inverse of a layer as a layer: forward and inverse change places.

    The layer must have no taps: what they would name is not an output of its inverse.

    Raises:
        ValueError: it has.
    """

    layer: Layer

    def __post_init__(self):
        """Refuses taps."""
        if self.layer.tap_names():
            names = ", ".join(sorted(self.layer.tap_names()))
            raise ValueError(f"inverse: the layer has taps: {names}")

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The layer."""
        return (self.layer,)

    def with_parts(self, parts: tuple[Layer, ...]) -> "Inverse":
        """The inverse of another layer."""
        (layer,) = parts
        return replace(self, layer=layer)

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """The layer's inverse."""
        return self.layer.inverse(params, x, key), {}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """The layer's forward."""
        return self.layer.forward(params, y, key)[0]

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """That of the layer's inverse."""
        del dtaps
        return self.layer.inverse_pullback(params, y, dy, key)

    def inverse_pullback(
        self, params: Params, x: Stream, dx: Stream, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """The layer's own."""
        return self.layer.pullback(params, x, dx, {}, key)


@dataclass(frozen=True)
class Tapped(Layer):
    """A chain of a layer and taps whose params are the layer's own: taps rename nothing.

    Attributes:
        layer: the first of the chain.
        taps: what stands behind it and has no params.
    """

    layer: Layer
    taps: tuple[Layer, ...]

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The layer and the taps."""
        return (self.layer, *self.taps)

    def with_parts(self, parts: tuple[Layer, ...]) -> "Tapped":
        """Another layer, other taps."""
        return replace(self, layer=parts[0], taps=parts[1:])

    def _params(self, params: Params) -> tuple[Params, ...]:
        return (params, *((),) * len(self.taps))

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """As `Chain`."""
        return Chain(self.parts).forward(self._params(params), x, key)

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """As `Chain`."""
        return Chain(self.parts).inverse(self._params(params), y, key)

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """As `Chain`."""
        pulled = Chain(self.parts).pullback(self._params(params), y, dy, dtaps, key)
        x, dx, (dparams, *_) = pulled
        return x, dx, dparams


class Level(NamedTuple):
    """One resolution level of a U shape; `down` and `up` lead to the next coarser one and back."""

    contracting: Layer
    skip: int
    down: Layer
    up: Layer
    expanding: Layer


def u_shape(levels: Sequence[Level], bottom: Layer) -> Layer:
    """A bijective U: a contracting and an expanding side, with the coarser levels between them.

        U_i = expanding_i o Split(skip_i, up_i o U_{i+1} o down_i) o contracting_i
        U_last = bottom

    Params are named alike, with those of the next level as `inner`, at last those of `bottom`:

        {"contracting": ..., "deeper": {"down": ..., "inner": ..., "up": ...}, "expanding": ...}

    The names sort in the order of the layers, as frameworks do that sort them.
    """
    if not levels:
        return bottom
    level, *coarser = levels
    inner = Chain((level.down, u_shape(coarser, bottom), level.up), ("down", "inner", "up"))
    return Chain(
        (level.contracting, Split(level.skip, inner), level.expanding),
        ("contracting", "deeper", "expanding"),
    )
