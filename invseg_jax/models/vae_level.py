"""One level of the VAE branch's decoder, with a gradient that makes its activations again.

    x = up_2(conv(input))       linear interpolation, cut to the level's size
    y = x + block(x)            two pre-activated convolutions; none at the deepest level
    output = end(y)             at the finest level alone

`jax.checkpoint` would make x and y again too. But on CPUs XLA takes what is made again for what was
made before, and keeps that; and everywhere it would hold x and y's cotangent while the block's two
convolutions are differentiated. Here y's cotangent goes after the second convolution's pullback at
the finest level, where it is a product of the reconstruction's, and x is made another time for the
first's.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from invseg_jax.layers.branch import ResidualBranch
from invseg_jax.layers.conv import Conv
from invseg_jax.layers.resample import upsample_linear
from invseg_jax.reversible.barrier import delay, materialize
from invseg_jax.reversible.layer import Array

Size = tuple[int, int, int]


def level(
    conv: Conv, block: ResidualBranch | None, end: Conv | None, x: Array, size: Size
) -> Array:
    """One level, differentiated by JAX.

    Args:
        conv: 1x1x1, to the level's channels.
        block: of the level, or None.
        end: 1x1x1, to the modalities; None but at the finest level.
        x: what the level below gives, (n, d, h, w, c).
        size: (D, H, W) of the level, at most 2d, 2h, 2w.

    Returns:
        (n, D, H, W, o).
    """
    y = _upsample_planes(_upsample_depth(conv, x, size), size)
    y = y if block is None else y + block(y)
    return y if end is None else end(y)


# `partial` hides the decorated function's type.
_with_rule: Any = partial(jax.custom_vjp, nondiff_argnums=(4,))


@_with_rule
def level_again(
    conv: Conv, block: ResidualBranch | None, end: Conv | None, x: Array, size: Size
) -> Array:
    """`level`, with a gradient that makes all but x, and what `end` is given, again."""
    return _evaluate(conv, block, end, x, size)[0]


def _evaluate(conv, block, end, x, size) -> tuple[Array, Array | None]:
    """The output, and what `end` was given."""
    x = materialize(partial(_upsample_planes, size=size), _upsample_depth(conv, x, size))
    y = x if block is None else x + block(x)
    return (y, None) if end is None else (end(y), y)


def _forward(conv, block, end, x, size):
    output, y = _evaluate(conv, block, end, x, size)
    # y is kept, but is needed first: where the gradient comes at once, as a reconstruction's does,
    # not for long.
    return output, (conv, block, end, x, y)


def _backward(size, residuals, doutput):
    conv, block, end, x, y = residuals
    dend = None if end is None else jax.vjp(lambda end: end(y), end)[1](doutput)[0]
    upsample = partial(_upsample_planes, size=size)
    channels = conv.weights.shape[-1]

    def from_end(doutput: Array) -> Array:
        return doutput if end is None else _transpose(end, doutput, channels)

    dy = materialize(from_end, doutput)
    deep, from_depth = jax.vjp(partial(_upsample_depth, size=size), conv, delay(x, dy))
    dblock, parts = None, [dy if end is None else doutput]
    if block is not None:
        inner, norm, last = block.before_last(materialize(upsample, deep))
        cotangents = jax.vjp(block.last, inner, norm, last)[1](dy)
        again = materialize(upsample, delay(deep, cotangents[0]))
        dblock, dx = jax.vjp(ResidualBranch.before_last, block, again)[1](cotangents)
        # To be multiplied again then, not kept as dy since before.
        parts = [delay(parts[0], dx), dx]

    def from_planes(doutput: Array, *dx: Array) -> Array:
        some = jnp.zeros((*doutput.shape[:2], *deep.shape[2:]))
        return jax.vjp(upsample, some)[1](sum(dx, from_end(doutput)))[0]

    dconv, dx = from_depth(materialize(from_planes, *parts))
    return dconv, dblock, dend, dx


level_again.defvjp(_forward, _backward)


def _upsample_depth(conv: Conv, x: Array, size: Size) -> Array:
    # The convolution commutes with the interpolation and costs an eighth before it.
    return upsample_linear(conv(x), axes=(1,))[:, : size[0]]


def _upsample_planes(x: Array, size: Size) -> Array:
    return upsample_linear(x, axes=(2, 3))[:, :, : size[1], : size[2]]


def _transpose(conv: Conv, dy: Array, channels: int) -> Array:
    """The cotangent of a convolution's input of so many channels."""
    return jax.vjp(conv, jnp.zeros((*dy.shape[:-1], channels)))[1](dy)[0]
