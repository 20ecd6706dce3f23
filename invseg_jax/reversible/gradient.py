"""Runs an invertible layer with one of three ways to get its gradient, which give the same values.

`reversible` keeps the output of the whole layer and the parameters, nothing else, whatever the
depth; `remat` keeps the input of every coupling and evaluates it again; `plain` keeps everything.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

import jax
from jax import lax

from invseg_jax.reversible.arithmetic import Arithmetic, FixedPoint
from invseg_jax.reversible.layer import Array, Layer, Params, Stream, Taps
from invseg_jax.reversible.planes import Form, flattened, unflattened
from invseg_jax.reversible.walk import arithmetic_of, replaced

Memory = Literal["reversible", "plain", "remat"]


def run(
    layer: Layer,
    params: Params,
    x: Array,
    key: Array | None = None,
    *,
    memory: Memory,
    taps: Collection[str] | None = None,
) -> tuple[Array, Taps]:
    """Evaluates `layer.forward(params, x, key)`, differentiable in params and x.

    The stream has the arithmetic of the layers in it. The input is encoded and the outputs decoded
    inside of the gradient rule: integers have no gradient.

    Args:
        layer: the largest invertible composition there is: with "reversible" the one gradient rule
            stands around all of it. A rule around each part would keep every part's output.
        params: the layer's parameters.
        x: the input, float32.
        key: for dropout; it has no gradient.
        memory: "reversible", "plain" or "remat".
        taps: names of the taps to let out; None: all. A tap that stays inside costs nothing.

    Returns:
        y and the taps, float32.

    Raises:
        ValueError: an unknown `memory`; layers of different arithmetic; or a fixed-point stream
            with another memory than "reversible".
    """
    check_memory(memory)
    arithmetic = arithmetic_of(layer)
    wanted = layer.tap_names() if taps is None else frozenset(taps)
    if memory == "reversible":
        return _reversible(layer, arithmetic, wanted)(params, x, key)
    if isinstance(arithmetic, FixedPoint):
        raise ValueError(f"memory={memory!r}: integers cannot be differentiated; StraightThrough")
    if memory == "remat":
        layer = replaced(layer, _checkpoint)
    y, found = layer.forward(params, _encoded(arithmetic, x), key)
    return _decoded(arithmetic, y, _only(found, wanted))


def invert(layer: Layer, params: Params, y: Array, key: Array | None = None) -> Array:
    """The x of which `run` makes y; float32, as y is.

    Raises:
        ValueError: layers of different arithmetic.
    """
    arithmetic = arithmetic_of(layer)
    x = layer.inverse(params, flattened(_encoded(arithmetic, y)), key)
    return unflattened(jax.tree.map(arithmetic.decode, x))


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


def _only(taps: Taps, wanted: Collection[str]) -> Taps:
    return {name: taps[name] for name in taps if name in wanted}


def _reversible(layer: Layer, arithmetic: Arithmetic, wanted: Collection[str]):
    @jax.custom_vjp
    def apply(params, x, key):
        return forward(params, x, key)[0]

    def forward(params, x, key):
        y, taps = layer.forward(params, _encoded(arithmetic, flattened(x)), key)
        # One array for now and for the backward pass; a compiler would join the halves for each.
        y = lax.optimization_barrier(y)
        outputs = _decoded(arithmetic, y, _only(taps, wanted))
        return unflattened(outputs), (params, y, key, Form.of(outputs))

    def backward(kept, cotangents):
        params, y, key, form = kept
        dy, dtaps = form.give(cotangents)
        # The reconstruction waits for the cotangents. A compiler that starts it earlier, or takes
        # the last branch's activations from the forward pass, holds them beside those of the
        # outputs.
        y, dy, dtaps = lax.optimization_barrier((y, dy, dtaps))
        _, dx, dparams = layer.pullback(params, y, dy, dtaps, key)
        return dparams, unflattened(dx), None

    apply.defvjp(forward, backward)
    return apply


@dataclass(frozen=True)
class _Checkpoint(Layer):
    """A layer that is evaluated again in the backward pass, whichever way it is gone through."""

    layer: Layer

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        return jax.checkpoint(self.layer.forward)(params, x, key)

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        return jax.checkpoint(self.layer.inverse)(params, y, key)

    def own_arithmetic(self) -> Arithmetic | None:
        return self.layer.own_arithmetic()

    def tap_names(self) -> frozenset[str]:
        return self.layer.tap_names()


def _checkpoint(layer: Layer) -> Layer | None:
    """A checkpoint around each elementary layer."""
    return None if layer.parts else _Checkpoint(layer)
