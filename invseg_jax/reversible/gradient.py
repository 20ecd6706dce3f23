"""Runs an invertible layer with one of three ways to get its gradient, which give the same values.

`reversible` keeps the output of the whole layer and the parameters, nothing else, whatever the
depth; `remat` keeps the input of every coupling and evaluates it again; `plain` keeps everything.
"""

import dataclasses
from typing import Literal, get_args

import jax
from jax import lax

from invseg_jax.reversible.arithmetic import FLOAT, Arithmetic, FixedPoint
from invseg_jax.reversible.composition import Chain, Repeat, Split
from invseg_jax.reversible.layer import Array, Layer, Params, Stream, Taps
from invseg_jax.reversible.planes import flattened, unflattened

Memory = Literal["reversible", "plain", "remat"]


def run(
    layer: Layer,
    params: Params,
    x: Array,
    key: Array | None = None,
    *,
    memory: Memory,
    arithmetic: Arithmetic = FLOAT,
) -> tuple[Array, Taps]:
    """Evaluates `layer.forward(params, x, key)`, differentiable in params and x.

    Args:
        layer: the largest invertible composition there is: with "reversible" the one gradient rule
            stands around all of it. A rule around each part would keep every part's output.
        params: the layer's parameters.
        x: the input, float32.
        key: for dropout; it has no gradient.
        memory: "reversible", "plain" or "remat".
        arithmetic: of the stream, the same as the layer's own. The input is encoded and the outputs
            decoded inside the gradient rule: integers have no gradient.

    Returns:
        y and the taps, float32.

    Raises:
        ValueError: an unknown `memory`, or a fixed-point stream with another than "reversible".
    """
    check_memory(memory)
    if memory == "reversible":
        return _reversible(layer, arithmetic)(params, x, key)
    if isinstance(arithmetic, FixedPoint):
        raise ValueError(f"memory={memory!r}: integers cannot be differentiated; StraightThrough")
    if memory == "remat":
        layer = _checkpointed(layer)
    y, taps = layer.forward(params, _encoded(arithmetic, x), key)
    return _decoded(arithmetic, y, taps)


def _encoded(arithmetic: Arithmetic, x: Stream) -> Stream:
    return jax.tree.map(arithmetic.encode, x)


def _decoded(arithmetic: Arithmetic, y: Stream, taps: Taps) -> tuple[Stream, Taps]:
    return jax.tree.map(arithmetic.decode, (y, dict(taps)))


def check_memory(memory: str) -> None:
    """Refuses what is no `Memory`.

    Raises:
        ValueError: says which there are.
    """
    if memory not in get_args(Memory):
        raise ValueError(f"memory is {memory!r}; it can be {', '.join(get_args(Memory))}")


def _reversible(layer: Layer, arithmetic: Arithmetic):
    @jax.custom_vjp
    def apply(params, x, key):
        return forward(params, x, key)[0]

    def forward(params, x, key):
        y, taps = layer.forward(params, _encoded(arithmetic, flattened(x)), key)
        # One array for now and for the backward pass; a compiler would join the halves for each.
        y = lax.optimization_barrier(y)
        return unflattened(_decoded(arithmetic, y, taps)), (params, y, key)

    def backward(kept, cotangents):
        params, y, key = kept
        dy, dtaps = flattened(cotangents)
        # The reconstruction waits for the cotangents. A compiler that starts it earlier, or takes
        # the last branch's activations from the forward pass, holds them beside those of the
        # outputs.
        y, dy, dtaps = lax.optimization_barrier((y, dy, dtaps))
        _, dx, dparams = layer.pullback(params, y, dy, dtaps, key)
        return dparams, unflattened(dx), None

    apply.defvjp(forward, backward)
    return apply


@dataclasses.dataclass(frozen=True)
class _Checkpoint(Layer):
    """A layer whose forward is evaluated again in the backward pass."""

    layer: Layer

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        return jax.checkpoint(self.layer.forward)(params, x, key)


def _checkpointed(layer: Layer) -> Layer:
    """The same function with a checkpoint around each elementary layer."""
    if isinstance(layer, Chain):
        return Chain(tuple(map(_checkpointed, layer.layers)))
    if isinstance(layer, Repeat):
        return Repeat(_checkpointed(layer.layer), layer.count, layer.scan)
    if isinstance(layer, Split):
        return Split(layer.skip, _checkpointed(layer.inner))
    return _Checkpoint(layer)
