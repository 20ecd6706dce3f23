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
    how = _How(norm.groups, norm.epsilon, conv.precision, execution.slabs)
    y = _preactivated(x, norm.scale[...], norm.offset[...], conv.kernel[...], mask, how)
    return y if conv.bias is None else y + conv.bias[...].reshape(1, 1, 1, 1, -1)


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


def _forward(x, scale, offset, kernel, mask, how):
    def evaluate(moments_of, conv, x, scale, offset, kernel, mask):
        mean, variance = moments_of(x)
        mean, inverse = group_statistics(mean, variance, how.groups, how.epsilon)
        factor = inverse * scale[None]

        def prepare(x: Array) -> Array:
            return _prepare(x, mean, factor, offset, mask)[1]

        return conv(x, kernel, prepare=prepare, precision=how.precision), mean, inverse

    y, mean, inverse = lax.platform_dependent(
        x,
        scale,
        offset,
        kernel,
        mask,
        cpu=partial(evaluate, plane_conv.moments, plane_conv.forward),
        default=partial(evaluate, moments, partial(compiler_conv.forward, slabs=how.slabs)),
    )
    return y, (x, mean, inverse, scale, offset, kernel, mask)


def _backward(how, kept, dy):
    def differentiate(gradients, x, mean, inverse, scale, offset, kernel, mask, dy):
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
        per_channel = (x.shape[0], 1, 1, 1, x.shape[-1])
        shift = over_group(sums * scale[None], how.groups) / voxels
        slant = over_group(products * scale[None], how.groups) / voxels
        normalised = (x - mean.reshape(per_channel)) * inverse.reshape(per_channel)
        centred = du * scale.reshape(1, 1, 1, 1, -1) - shift.reshape(per_channel)
        dx = (centred - normalised * slant.reshape(per_channel)) * inverse.reshape(per_channel)
        return dx, products.sum(axis=0), sums.sum(axis=0), dkernel

    # Where compilers heed it, this keeps the reconstruction's evaluation apart from the gradient's:
    # merged, the same sum could come to other bits than in the forward pass.
    x, dy = lax.optimization_barrier((kept[0], dy))
    gradients = lax.platform_dependent(
        x,
        *kept[1:],
        dy,
        cpu=partial(differentiate, plane_conv.gradients),
        default=partial(differentiate, partial(compiler_conv.gradients, slabs=how.slabs)),
    )
    return *gradients, None


_preactivated.defvjp(_forward, _backward)
