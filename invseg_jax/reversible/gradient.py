"""Runs an invertible layer with one of three ways to get its gradient, which give the same values.

`reversible` keeps the output of the whole layer and the parameters, nothing else, whatever the
depth; `remat` keeps the input of every coupling and evaluates it again; `plain` keeps everything.
"""

import dataclasses
from typing import Literal, get_args

import jax
from jax import lax

from invseg_jax.reversible.composition import Chain, Split
from invseg_jax.reversible.layer import Array, Layer, Params, Stream, Taps

Memory = Literal["reversible", "plain", "remat"]


def run(
    layer: Layer, params: Params, x: Stream, key: Array | None = None, *, memory: Memory
) -> tuple[Stream, Taps]:
    """Evaluates `layer.forward(params, x, key)`, differentiable in params and x.

    Args:
        layer: the largest invertible composition there is: with "reversible" the one gradient rule
            stands around all of it. A rule around each part would keep every part's output.
        params: the layer's parameters.
        x: the input stream.
        key: for dropout; it has no gradient.
        memory: "reversible", "plain" or "remat".

    Returns:
        y and the taps.

    Raises:
        ValueError: an unknown `memory`.
    """
    check_memory(memory)
    if memory == "reversible":
        return _reversible(layer)(params, x, key)
    if memory == "remat":
        return _checkpointed(layer).forward(params, x, key)
    return layer.forward(params, x, key)


def check_memory(memory: str) -> None:
    """Refuses what is no `Memory`.

    Raises:
        ValueError: says which there are.
    """
    if memory not in get_args(Memory):
        raise ValueError(f"memory is {memory!r}; it can be {', '.join(get_args(Memory))}")


def _reversible(layer: Layer):
    @jax.custom_vjp
    def apply(params, x, key):
        return layer.forward(params, x, key)

    def forward(params, x, key):
        y, taps = layer.forward(params, x, key)
        return (y, taps), (params, y, key)

    def backward(kept, cotangents):
        params, y, key = kept
        dy, dtaps = cotangents
        # The reconstruction waits for the cotangents. A compiler that starts it earlier, or takes
        # the last branch's activations from the forward pass, holds them beside those of the
        # outputs.
        y, dy, dtaps = lax.optimization_barrier((y, dy, dtaps))
        _, dx, dparams = layer.pullback(params, y, dy, dtaps, key)
        return dparams, dx, None

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
    if isinstance(layer, Split):
        return Split(layer.skip, _checkpointed(layer.inner))
    return _Checkpoint(layer)
