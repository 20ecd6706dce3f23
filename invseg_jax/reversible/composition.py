"""How invertible layers compose: chain, repeat, split, tap, inverse, and the U made of them.

A composition is an invertible layer again. Its pullback walks the parts backwards, and holds at any
time only the stream and its cotangent, never the activations of the parts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from invseg_jax.reversible.barrier import settle
from invseg_jax.reversible.layer import Array, Layer, Params, Permutation, Stream, Taps

# A coupling exchanges the halves of its stream. After two they are back in their places, and the
# compiler need not copy them from round to round.
_LAYERS_A_ROUND = 2


def _key_of(key: Array | None, index: int | Array) -> Array | None:
    return None if key is None else jax.random.fold_in(key, index)


def _merged(taps: dict, more: Taps) -> dict:
    twice = taps.keys() & more.keys()
    if twice:
        raise ValueError(f"two taps have the same name: {', '.join(sorted(twice))}")
    return taps | dict(more)


@dataclass(frozen=True)
class Chain(Layer):
    """Layers in a row: f = f_k o ... o f_1; params are a sequence, one entry a layer.

    forward   x_i = f_i(x_{i-1})
    inverse   x_{i-1} = f_i^-1(x_i)
    pullback  (x_{i-1}, dx_{i-1}, dparams_i) from (x_i, dx_i), for i = k ... 1
    """

    layers: tuple[Layer, ...]

    def __post_init__(self):
        """Takes any sequence of layers."""
        object.__setattr__(self, "layers", tuple(self.layers))

    def _check(self, params: Params) -> None:
        if len(params) != len(self.layers):
            raise ValueError(f"chain of {len(self.layers)} layers got {len(params)} parameters")

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """x_0 -> x_k."""
        self._check(params)
        taps: dict = {}
        for i, layer in enumerate(self.layers):
            x, more = layer.forward(params[i], x, _key_of(key, i))
            taps = _merged(taps, more)
        return x, taps

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """x_k -> x_0."""
        self._check(params)
        for i in reversed(range(len(self.layers))):
            y = self.layers[i].inverse(params[i], y, _key_of(key, i))
        return y

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """The layers' pullbacks from last to first."""
        self._check(params)
        dparams: list = []
        for i in reversed(range(len(self.layers))):
            y, dy, dp = self.layers[i].pullback(params[i], y, dy, dtaps, _key_of(key, i))
            # Ties the streams to this layer's weight gradients. A compiler that puts these off
            # would keep every reconstructed activation alive, and the memory would grow with depth
            # again.
            y, dy, dp = lax.optimization_barrier((y, dy, dp))
            dparams.append(dp)
        return y, dy, tuple(reversed(dparams))


@dataclass(frozen=True)
class Repeat(Layer):
    """One layer several times, with other parameters each: a chain that can be one loop.

    As a loop it compiles to two copies of the layer, whatever the count, and its memory cannot
    grow.

    Attributes:
        layer: its stream goes in and comes out with one shape, and it has no taps.
        count: how often; params are those of the layer, stacked along a new first axis.
        scan: whether to be a loop.
    """

    layer: Layer
    count: int
    scan: bool = False

    def _chain(self) -> Chain:
        return Chain((self.layer,) * self.count)

    def _check(self, params: Params) -> None:
        counts = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(params)}
        if counts - {self.count}:
            raise ValueError(f"{self.count} layers got parameters stacked by {sorted(counts)}")

    def _each(self, params: Params) -> list[Params]:
        """The parameters of each layer."""
        self._check(params)
        leaves, structure = jax.tree.flatten(params)
        stacks = [jnp.unstack(leaf) for leaf in leaves]
        return [
            jax.tree.unflatten(structure, [stack[i] for stack in stacks]) for i in range(self.count)
        ]

    def _numbered(self, params: Params) -> tuple[Params, Array]:
        self._check(params)
        return params, jnp.arange(self.count)

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """As `Chain`."""
        if not self.scan:
            return self._chain().forward(self._each(params), x, key)

        def body(x, numbered):
            params, i = numbered
            return self.layer.forward(params, x, _key_of(key, i))[0], None

        return lax.scan(body, x, self._numbered(params), unroll=_LAYERS_A_ROUND)[0], {}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """As `Chain`."""
        if not self.scan:
            return self._chain().inverse(self._each(params), y, key)

        def body(y, numbered):
            params, i = numbered
            return self.layer.inverse(params, y, _key_of(key, i)), None

        return lax.scan(body, y, self._numbered(params), reverse=True, unroll=_LAYERS_A_ROUND)[0]

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """As `Chain`."""
        if not self.scan:
            each = self._each(params)
            y, dy, dparams = self._chain().pullback(each, y, dy, dtaps, key)
            return y, dy, jax.tree.map(lambda *leaves: jnp.stack(leaves), *dparams)

        def body(streams, numbered):
            (y, dy), (params, i) = streams, numbered
            y, dy, dparams = self.layer.pullback(params, y, dy, dtaps, _key_of(key, i))
            return (y, dy), dparams

        (y, dy), dparams = lax.scan(
            body, (y, dy), self._numbered(params), reverse=True, unroll=_LAYERS_A_ROUND
        )
        return y, dy, dparams


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
        rest, drest = self._rest(y), self._rest(dy)
        rest, drest, dparams = self.inner.pullback(params, rest, drest, dtaps, key)
        x = jax.tree.map(partial(settle, self._put), y, rest)
        return x, jax.tree.map(partial(settle, self._put, after=x), dy, drest), dparams

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

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """The identity, with a copy for outside."""
        return x, {self.name: x}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """The identity."""
        return y

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """Adds the cotangent that came back through the tap."""
        return y, jax.tree.map(lambda a, b: a + b, dy, dtaps[self.name]), params


@dataclass(frozen=True)
class Inverse(Layer):
    """The inverse of a layer as a layer: forward and inverse change places.

    The layer must have no taps: what they would name is not an output of its inverse.
    """

    layer: Layer

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """The layer's inverse."""
        return self.layer.inverse(params, x, key), {}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """The layer's forward."""
        x, taps = self.layer.forward(params, y, key)
        if taps:
            raise ValueError(f"inverse: the layer has taps: {', '.join(sorted(taps))}")
        return x

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """The inverse of a permutation is one as well."""
        if isinstance(self.layer, Permutation):
            return self.inverse(params, y), self.inverse(params, dy), params
        return super().pullback(params, y, dy, dtaps, key)


class Level(NamedTuple):
    """One resolution level of a U shape; `down` and `up` lead to the next coarser one and back."""

    encode: Layer
    skip: int
    down: Layer
    up: Layer
    decode: Layer


def u_shape(levels: Sequence[Level], bottom: Layer) -> Layer:
    """A bijective U: encode, split, go down, recurse, come up, join, decode.

        U_i = decode_i o Split(skip_i, up_i o U_{i+1} o down_i) o encode_i,     U_last = bottom

    Params have the same nesting: `(encode, (down, inner, up), decode)`, with `inner` the params of
    the next level, and at last those of `bottom`.
    """
    if not levels:
        return bottom
    level, *coarser = levels
    inner = Chain((level.down, u_shape(coarser, bottom), level.up))
    return Chain((level.encode, Split(level.skip, inner), level.decode))
