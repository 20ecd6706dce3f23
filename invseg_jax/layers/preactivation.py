"""Norm, activation and convolution in one, with a gradient rule that keeps the input alone.

    u = (x - mean_g) / sqrt(var_g + epsilon) * scale + offset        group normalisation
    a = leaky_relu(u) * mask                                         mask: spatial dropout
    y = a * kernel                                                   cross-correlation

Written apart, the gradient holds u's and a's volumes and their cotangents' at once, and this is
what a reversible network still needs when it keeps no activations. Here both directions go through
the volume plane by plane, or in slabs along the depth. The gradient takes two passes, for the
statistics depend on the whole volume: the first leaves du in the place of dx and sums it, the
second makes dx of it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from invseg_jax.layers import compiler_conv, plane_conv
from invseg_jax.layers.conv import Conv, as_volume
from invseg_jax.layers.execution import Execution, Precision
from invseg_jax.layers.norm import GroupNorm, group_statistics, moments, over_group
from invseg_jax.reversible import Accumulator, Planes
from invseg_jax.reversible.layer import Array, PyTree, Stream

SLOPE = 0.01


def preactivated_conv(
    x: Stream, norm: GroupNorm, conv: Conv, mask: Array, execution: Execution
) -> Stream:
    """Group normalisation, leaky ReLU of slope 0.01 and convolution; differentiable in reverse.

    Args:
        x: (n, d, h, w, c) float32, or `Planes` of it; or images (n, h, w, c), or sequences
            (n, l, c), where conv is of as many dims.
        norm: of c channels.
        conv: of c channels to o; a bias is added.
        mask: (n, c), multiplied with the activations; it has no gradient.
        execution: its slabs are the most pieces along the depth on GPUs. CPUs and TPUs go plane by
            plane, which costs no time there.

    Returns:
        (n, d, h, w, o) float32, or `Planes` of it, as x is.
    """
    planes = x if isinstance(x, Planes) else Planes.of(as_volume(x))
    y = _preactivated(
        planes.rows, _weights(norm, conv), mask, _how(norm, conv, execution, planes.width)
    )
    if conv.bias is not None:
        y = y + conv.bias[...].reshape(1, 1, 1, -1)
    y = Planes(y, planes.width)
    return y if isinstance(x, Planes) else y.volume.reshape(*x.shape[:-1], -1)


def preactivated_conv_into(
    x: Planes, norm: GroupNorm, conv: Conv, mask: Array, execution: Execution, into: Accumulator
) -> Planes:
    """`into.combine(into.stream, preactivated_conv(x, ...))`, in the stream's place.

    Not to be differentiated; for convolutions without a bias. Returns what the stream is.
    """
    how = _how(norm, conv, execution, x.width)
    into = Accumulator(into.stream.rows, into.combine)
    return Planes(_evaluate(x.rows, _weights(norm, conv), mask, how, into)[0], x.width)


def preactivated_conv_pullback(
    x: Planes,
    norm: GroupNorm,
    conv: Conv,
    mask: Array,
    execution: Execution,
    into: Accumulator,
    dy: Planes,
) -> tuple[Planes, Planes, GroupNorm, Conv]:
    """`preactivated_conv_into`, and the gradients of `preactivated_conv`, in one pass.

    Returns:
        What the stream is, and the cotangents of x, norm and conv.
    """
    how = _how(norm, conv, execution, x.width)
    weights, transpose = jax.vjp(_weights, norm, conv)

    def pull(parts: _Parts, x, weights, mask, stream, dy):
        into_here = Accumulator(stream, into.combine)
        return parts.differentiate(x, parts.statistics(x, how), weights, mask, dy, how, into_here)

    stream, dx, dweights = _by_platform(pull, how, x.rows, weights, mask, into.stream.rows, dy.rows)
    return Planes(stream, x.width), Planes(dx, x.width), *transpose(dweights)


class _Weights(NamedTuple):
    """What is differentiated besides the input: (c,), (c,) and (k, l, c, m, o)."""

    scale: Array
    offset: Array
    kernel: Array


def _weights(norm: GroupNorm, conv: Conv) -> _Weights:
    return _Weights(norm.scale[...], norm.offset[...], conv.weights)


class _How(NamedTuple):
    """What is fixed when the program is traced."""

    groups: int
    epsilon: float
    precision: Precision
    slabs: int
    width: int


def _how(norm: GroupNorm, conv: Conv, execution: Execution, width: int) -> _How:
    return _How(norm.groups, norm.epsilon, conv.precision, execution.slabs, width)


# `partial` hides the decorated function's type.
_with_rule: Any = partial(jax.custom_vjp, nondiff_argnums=(3,))


@_with_rule
def _preactivated(x: Array, weights: _Weights, mask: Array, how: _How) -> Array:
    return _evaluate(x, weights, mask, how)[0]


def _forward(x, weights, mask, how):
    y, statistics = _evaluate(x, weights, mask, how)
    return y, (x, statistics, weights, mask)


def _backward(how, residuals, dy):
    def differentiate(parts: _Parts, x, statistics, weights, mask, dy):
        return parts.differentiate(x, statistics, weights, mask, dy, how)[1:]

    return *_by_platform(differentiate, how, *residuals, dy), None


_preactivated.defvjp(_forward, _backward)


def _evaluate(x: Array, weights: _Weights, mask: Array, how: _How, into: Accumulator | None = None):
    """The result, and the mean and 1 / deviation of each channel's group."""

    def evaluate(parts: _Parts, x, weights, mask, stream):
        statistics = parts.statistics(x, how)
        here = None if into is None else Accumulator(stream, into.combine)
        y = parts.conv(
            x,
            weights.kernel,
            how.width,
            prepare=lambda x: _prepare(x, statistics, weights, mask)[1],
            precision=how.precision,
            into=here,
        )
        return y, statistics

    stream = None if into is None else into.stream
    return _by_platform(evaluate, how, x, weights, mask, stream)


Statistics = tuple[Array, Array]


class _Parts(NamedTuple):
    """The convolution of a platform and what goes with it."""

    moments: Callable[[Array], tuple[Array, Array]]
    conv: Callable[..., Array]
    gradients: Callable[..., tuple[Array, Array, PyTree, Array | None]]
    over: Callable[[Callable[[Array, Array], Array], Array, Array], Array]

    def statistics(self, x: Array, how: _How) -> Statistics:
        """Mean and 1 / deviation of each channel's group, both (n, c)."""
        return group_statistics(*self.moments(x), how.groups, how.epsilon)

    def differentiate(
        self,
        x: Array,
        statistics: Statistics,
        weights: _Weights,
        mask: Array,
        dy: Array,
        how: _How,
        into: Accumulator | None = None,
    ) -> tuple[Array | None, Array, _Weights]:
        """What `into` makes of its stream, dx, and the weights' cotangents."""
        mean, inverse = statistics

        def retract(x: Array, da: Array) -> tuple[Array, tuple[Array, Array]]:
            u, _ = _prepare(x, statistics, weights, mask)
            du = da * _per_channel(mask, x) * jnp.where(u >= 0, 1.0, SLOPE)
            normalised = (x - _per_channel(mean, x)) * _per_channel(inverse, x)
            space = tuple(range(1, x.ndim - 1))
            return du, (du.sum(axis=space), (du * normalised).sum(axis=space))

        du, dkernel, (sums, products), stream = self.gradients(
            x,
            weights.kernel,
            dy,
            how.width,
            prepare=lambda x: _prepare(x, statistics, weights, mask)[1],
            retract=retract,
            precision=how.precision,
            into=into,
        )
        # Second pass: what the mean and the variance of each group have of every voxel.
        voxels = x.shape[1] * x.shape[2]
        shift = over_group(sums * weights.scale[None], how.groups) / voxels
        slant = over_group(products * weights.scale[None], how.groups) / voxels

        def finish(du: Array, x: Array) -> Array:
            normalised = (x - _per_channel(mean, x)) * _per_channel(inverse, x)
            centred = du * _per_channel(weights.scale[None], x) - _per_channel(shift, x)
            dx = centred - normalised * _per_channel(slant, x)
            return dx * _per_channel(inverse, x)

        dx = self.over(finish, du, x)
        return stream, dx, _Weights(products.sum(axis=0), sums.sum(axis=0), dkernel)


def _per_channel(values: Array, x: Array) -> Array:
    """(n or 1, c) of the rank of x, a plane, a slab or a volume."""
    return values.reshape(values.shape[0], *(1,) * (x.ndim - 2), values.shape[1])


def _prepare(x: Array, statistics: Statistics, weights: _Weights, mask: Array):
    """The normalised and the activated values of x, a plane, a slab or the whole volume."""
    mean, inverse = statistics
    factor = inverse * weights.scale[None]
    u = (x - _per_channel(mean, x)) * _per_channel(factor, x)
    u = u + _per_channel(weights.offset[None], x)
    return u, jnp.where(u >= 0, u, SLOPE * u) * _per_channel(mask, x)


def _by_platform(function: Callable[..., Any], how: _How, *arguments: Any) -> Any:
    """`function(parts, *arguments)` with the parts of the platform that it is lowered for."""
    planes = _Parts(plane_conv.moments, plane_conv.forward, plane_conv.gradients, plane_conv.over)
    compiler = _Parts(
        moments,
        partial(compiler_conv.forward, slabs=how.slabs),
        partial(compiler_conv.gradients, slabs=how.slabs),
        lambda function, *volumes: function(*volumes),
    )
    return lax.platform_dependent(
        *arguments,
        cpu=partial(function, planes),
        tpu=partial(function, planes),
        default=partial(function, compiler),
    )
