"""Norm, activation and convolution in one, with a gradient rule that keeps the input alone.

    u = (x - mean_g) / sqrt(var_g + epsilon) * scale + offset        group normalisation
    a = leaky_relu(u) * mask                                         mask: spatial dropout
    y = a * kernel                                                   cross-correlation

Written apart, the gradient holds u's and a's volumes and their cotangents' at once, and this is
what a reversible network still needs when it keeps no activations. Here both directions go through
the volume in slabs along the depth. The gradient takes two passes, for the statistics depend on the
whole volume: the first leaves du in the place of dx and sums it, the second makes dx of it.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from invseg_jax.layers import compiler_conv, plane_conv
from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution, Precision
from invseg_jax.layers.norm import GroupNorm, group_statistics, moments, over_group
from invseg_jax.layers.plane_conv import Onto
from invseg_jax.reversible.layer import Array

SLOPE = 0.01


def preactivated_conv(
    x: Array, norm: GroupNorm, conv: Conv, mask: Array, execution: Execution
) -> Array:
    """Group normalisation, leaky ReLU of slope 0.01 and convolution; differentiable in reverse.

    Args:
        x: (n, d, h, w, c) float32.
        norm: of c channels.
        conv: of c channels to o; a bias is added.
        mask: (n, c), multiplied with the activations; it has no gradient.
        execution: its slabs are the most pieces along the depth. CPUs go plane by plane, which
            costs no time there.

    Returns:
        (n, d, h, w, o) float32.
    """
    y = _preactivated(*_arguments(x, norm, conv, mask, execution))
    return y if conv.bias is None else y + conv.bias[...].reshape(1, 1, 1, 1, -1)


def preactivated_conv_onto(
    x: Array, norm: GroupNorm, conv: Conv, mask: Array, execution: Execution, onto: Onto
) -> Array:
    """`combine(stream, preactivated_conv(x, ...))` of `onto` = (stream, combine, after).

    In the stream's place, and not before the arrays `after` are there (`plane_conv.forward`). Not
    to be differentiated; for convolutions without a bias. Returns what the stream is.
    """
    return _evaluate(*_arguments(x, norm, conv, mask, execution), onto=onto)[0]


def _arguments(x: Array, norm: GroupNorm, conv: Conv, mask: Array, execution: Execution):
    how = _How(norm.groups, norm.epsilon, conv.precision, execution.slabs)
    return x, norm.scale[...], norm.offset[...], conv.weights, mask, how


class _How(NamedTuple):
    """What is fixed when the program is traced."""

    groups: int
    epsilon: float
    precision: Precision
    slabs: int


# `partial` hides the decorated function's type.
_with_rule: Any = partial(jax.custom_vjp, nondiff_argnums=(5,))


@_with_rule
def _preactivated(
    x: Array, scale: Array, offset: Array, kernel: Array, mask: Array, how: _How
) -> Array:
    return _forward(x, scale, offset, kernel, mask, how)[0]


def _prepare(x: Array, mean: Array, factor: Array, offset: Array, mask: Array):
    """The normalised and the activated values of x, a plane, a slab or the whole volume."""
    n, c = mean.shape
    per_channel = (n, *(1,) * (x.ndim - 2), c)
    u = (x - mean.reshape(per_channel)) * factor.reshape(per_channel)
    u = u + offset.reshape(*per_channel[1:])[None]
    return u, jnp.where(u >= 0, u, SLOPE * u) * mask.reshape(per_channel)


def _evaluate(x, scale, offset, kernel, mask, how, onto=None):
    """The result, and the mean and 1 / deviation of each channel's group."""

    def evaluate(moments_of, conv, x, scale, offset, kernel, mask, *stream_and_after):
        mean, variance = moments_of(x)
        mean, inverse = group_statistics(mean, variance, how.groups, how.epsilon)
        factor = inverse * scale[None]

        def prepare(x: Array) -> Array:
            return _prepare(x, mean, factor, offset, mask)[1]

        here = None
        if onto is not None:
            stream, after = stream_and_after
            here = (stream, onto[1], after)
        y = conv(x, kernel, prepare=prepare, precision=how.precision, onto=here)
        return y, mean, inverse

    return lax.platform_dependent(
        x,
        scale,
        offset,
        kernel,
        mask,
        *(() if onto is None else (onto[0], onto[2])),
        cpu=partial(evaluate, plane_conv.moments, plane_conv.forward),
        default=partial(evaluate, moments, partial(compiler_conv.forward, slabs=how.slabs)),
    )


def _forward(x, scale, offset, kernel, mask, how):
    y, mean, inverse = _evaluate(x, scale, offset, kernel, mask, how)
    return y, (x, mean, inverse, scale, offset, kernel, mask)


def _backward(how, kept, dy):
    def differentiate(gradients, over, x, mean, inverse, scale, offset, kernel, mask, dy):
        factor = inverse * scale[None]

        def prepare(x: Array) -> Array:
            return _prepare(x, mean, factor, offset, mask)[1]

        def retract(x: Array, da: Array) -> tuple[Array, tuple[Array, Array]]:
            n, c = mean.shape
            per_channel = (n, *(1,) * (x.ndim - 2), c)
            u, _ = _prepare(x, mean, factor, offset, mask)
            du = da * mask.reshape(per_channel) * jnp.where(u >= 0, 1.0, SLOPE)
            normalised = (x - mean.reshape(per_channel)) * inverse.reshape(per_channel)
            space = tuple(range(1, x.ndim - 1))
            return du, (du.sum(axis=space), (du * normalised).sum(axis=space))

        du, dkernel, (sums, products) = gradients(
            x, kernel, dy, prepare=prepare, retract=retract, precision=how.precision
        )
        # Second pass: what the mean and the variance of each group have of every voxel.
        voxels = x.shape[1] * x.shape[2] * x.shape[3]
        shift = over_group(sums * scale[None], how.groups) / voxels
        slant = over_group(products * scale[None], how.groups) / voxels

        def finish(du: Array, x: Array) -> Array:
            n, c = mean.shape
            per_channel = (n, *(1,) * (x.ndim - 2), c)
            normalised = (x - mean.reshape(per_channel)) * inverse.reshape(per_channel)
            centred = du * scale.reshape(*per_channel[1:])[None] - shift.reshape(per_channel)
            dx = centred - normalised * slant.reshape(per_channel)
            return dx * inverse.reshape(per_channel)

        return over(finish, du, x), products.sum(axis=0), sums.sum(axis=0), dkernel

    # Where compilers heed it, this keeps the reconstruction's evaluation apart from the gradient's:
    # merged, the same sum could come to other bits than in the forward pass.
    x, dy = lax.optimization_barrier((kept[0], dy))
    gradients = lax.platform_dependent(
        x,
        *kept[1:],
        dy,
        cpu=partial(differentiate, plane_conv.gradients, plane_conv.over),
        default=partial(
            differentiate,
            partial(compiler_conv.gradients, slabs=how.slabs),
            lambda function, *volumes: function(*volumes),
        ),
    )
    return *gradients, None


_preactivated.defvjp(_forward, _backward)
