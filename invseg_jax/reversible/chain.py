"""Layers in a row: different ones, or one layer several times.

A composition is an invertible layer again. Its pullback walks the parts backwards, and holds at any
time only the stream and its cotangent, never the activations of the parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import lax

from invseg_jax.reversible.layer import Array, Layer, Params, Stream, Taps

# A coupling exchanges the halves of its stream. After two they are back in their places, and the
# compiler need not copy them from round to round.
_LAYERS_A_ROUND = 2


def key_of(key: Array | None, index: int | Array) -> Array | None:
    """The key of a composition's part, by the part's place."""
    return None if key is None else jax.random.fold_in(key, index)


def _merged(taps: dict, more: Taps) -> dict:
    twice = taps.keys() & more.keys()
    if twice:
        raise ValueError(f"two taps have the same name: {', '.join(sorted(twice))}")
    return taps | dict(more)


@dataclass(frozen=True)
class Chain(Layer):
    """Layers in a row: f = f_k o ... o f_1.

    forward   x_i = f_i(x_{i-1})
    inverse   x_{i-1} = f_i^-1(x_i)
    pullback  (x_{i-1}, dx_{i-1}, dparams_i) from (x_i, dx_i), for i = k ... 1

    Attributes:
        layers: f_1 to f_k.
        names: of the layers. With names, params are a dict with one entry a name, so that a layer
            more leaves the names of all others; without, a sequence with one entry a layer.

    Raises:
        ValueError: other numbers of names than of layers, or one name twice.
    """

    layers: tuple[Layer, ...]
    names: tuple[str, ...] | None = None

    def __post_init__(self):
        """Takes any sequence of layers and of names."""
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.names is not None:
            object.__setattr__(self, "names", tuple(self.names))
            if len(set(self.names)) != len(self.layers) or len(self.names) != len(self.layers):
                raise ValueError(
                    f"chain of {len(self.layers)} layers named {', '.join(self.names)}; give each "
                    "a name of its own"
                )

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The layers."""
        return self.layers

    def with_parts(self, parts: tuple[Layer, ...]) -> "Chain":
        """Other layers of the same names."""
        return replace(self, layers=parts)

    def _each(self, params: Params) -> list[Params]:
        """The parameters of each layer."""
        if self.names is None:
            if len(params) != len(self.layers):
                raise ValueError(f"chain of {len(self.layers)} layers got {len(params)} parameters")
            return list(params)
        if not isinstance(params, Mapping) or set(params) != set(self.names):
            got = ", ".join(params) if isinstance(params, Mapping) else type(params).__name__
            raise ValueError(f"chain of {', '.join(self.names)} got the parameters of {got}")
        return [params[name] for name in self.names]

    def _collected(self, each: Sequence[Params]) -> Params:
        """The inverse of `_each`."""
        if self.names is None:
            return tuple(each)
        return dict(zip(self.names, each, strict=True))

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """x_0 -> x_k."""
        taps: dict = {}
        for i, (layer, own) in enumerate(zip(self.layers, self._each(params), strict=True)):
            x, more = layer.forward(own, x, key_of(key, i))
            taps = _merged(taps, more)
        return x, taps

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """x_k -> x_0."""
        each = self._each(params)
        for i in reversed(range(len(self.layers))):
            y = self.layers[i].inverse(each[i], y, key_of(key, i))
        return y

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """The layers' pullbacks from last to first."""
        each, dparams = self._each(params), []
        for i in reversed(range(len(self.layers))):
            pulled = self.layers[i].pullback(each[i], y, dy, dtaps, key_of(key, i))
            y, dy, dp = _tied(pulled)
            dparams.append(dp)
        return y, dy, self._collected(dparams[::-1])

    def inverse_pullback(
        self, params: Params, x: Stream, dx: Stream, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """The pullbacks of the layers' inverses from first to last."""
        dparams = []
        for i, (layer, own) in enumerate(zip(self.layers, self._each(params), strict=True)):
            x, dx, dp = _tied(layer.inverse_pullback(own, x, dx, key_of(key, i)))
            dparams.append(dp)
        return x, dx, self._collected(dparams)


def _tied(pulled: tuple[Stream, Stream, Params]) -> tuple[Stream, Stream, Params]:
    """Ties the streams to a layer's weight gradients.

    A compiler that puts these off would keep every reconstructed activation alive, and the memory
    would grow with depth again.
    """
    return lax.optimization_barrier(pulled)


@dataclass(frozen=True)
class Repeat(Layer):
    """One layer several times, with other parameters each: a chain that can be one loop.

    As a loop it compiles to two copies of the layer, whatever the count, and its memory cannot
    grow. Taps of the layer come out once, stacked along a new first axis as the parameters are.

    Attributes:
        layer: its stream goes in and comes out with one shape.
        count: how often; params are those of the layer, stacked along a new first axis.
        scan: whether to be a loop.
    """

    layer: Layer
    count: int
    scan: bool = False

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The layer, once."""
        return (self.layer,)

    def with_parts(self, parts: tuple[Layer, ...]) -> "Repeat":
        """Another layer as often."""
        (layer,) = parts
        return replace(self, layer=layer)

    def _check(self, params: Params) -> None:
        counts = {leaf.shape[0] if leaf.ndim else 0 for leaf in jax.tree.leaves(params)}
        if counts - {self.count}:
            raise ValueError(f"{self.count} layers got parameters stacked by {sorted(counts)}")

    def _each(self, stacked: Params) -> list[Params]:
        """Of each layer what is stacked: its parameters, or its taps' cotangents."""
        leaves, structure = jax.tree.flatten(stacked)
        stacks = [jnp.unstack(leaf) for leaf in leaves]
        return [
            jax.tree.unflatten(structure, [stack[i] for stack in stacks]) for i in range(self.count)
        ]

    def _stacked(self, each: Sequence[Params]) -> Params:
        """The inverse of `_each`."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    def _own(self, dtaps: Taps) -> dict:
        """The cotangents of the taps in here."""
        return {name: dtaps[name] for name in self.layer.tap_names()}

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """As `Chain`."""
        self._check(params)
        if not self.scan:
            taps: list = []
            for i, own in enumerate(self._each(params)):
                x, more = self.layer.forward(own, x, key_of(key, i))
                taps.append(dict(more))
            return x, self._stacked(taps) if taps else {}

        def body(x, numbered):
            params, i = numbered
            x, taps = self.layer.forward(params, x, key_of(key, i))
            return x, dict(taps)

        return lax.scan(body, x, (params, jnp.arange(self.count)), unroll=_LAYERS_A_ROUND)

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """As `Chain`."""
        self._check(params)
        if not self.scan:
            for i, own in reversed(list(enumerate(self._each(params)))):
                y = self.layer.inverse(own, y, key_of(key, i))
            return y

        def body(y, numbered):
            params, i = numbered
            return self.layer.inverse(params, y, key_of(key, i)), None

        numbered = (params, jnp.arange(self.count))
        return lax.scan(body, y, numbered, reverse=True, unroll=_LAYERS_A_ROUND)[0]

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """As `Chain`."""

        def pull(params, y, dy, dtaps, key):
            return self.layer.pullback(params, y, dy, dtaps, key)

        return self._pulled(pull, params, y, dy, self._own(dtaps), key, reverse=True)

    def inverse_pullback(
        self, params: Params, x: Stream, dx: Stream, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """As `Chain`."""

        def pull(params, x, dx, dtaps, key):
            del dtaps
            return self.layer.inverse_pullback(params, x, dx, key)

        return self._pulled(pull, params, x, dx, {}, key, reverse=False)

    def _pulled(self, pull, params, y, dy, dtaps, key, *, reverse: bool):
        """`pull` of each layer, from the last to the first if reverse."""
        self._check(params)
        if not self.scan:
            each, own = self._each(params), self._each(dtaps)
            dparams: list = [None] * self.count
            for i in reversed(range(self.count)) if reverse else range(self.count):
                pulled = pull(each[i], y, dy, own[i], key_of(key, i))
                y, dy, dparams[i] = _tied(pulled)
            return y, dy, self._stacked(dparams)

        def body(streams, numbered):
            (y, dy), (params, dtaps, i) = streams, numbered
            y, dy, dparams = pull(params, y, dy, dtaps, key_of(key, i))
            return (y, dy), dparams

        (y, dy), dparams = lax.scan(
            body,
            (y, dy),
            (params, dtaps, jnp.arange(self.count)),
            reverse=reverse,
            unroll=_LAYERS_A_ROUND,
        )
        return y, dy, dparams
