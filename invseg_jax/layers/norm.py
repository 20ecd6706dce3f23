"""Group normalisation: statistics of one example alone, so that it can be evaluated again."""

import math

import jax.numpy as jnp
from flax import nnx
from jax import lax

from invseg_jax.layers.initial import constant
from invseg_jax.reversible.layer import Array


def over_group(statistic: Array, groups: int) -> Array:
    """(n, c) -> (n, c): the mean over each of the channels' groups."""
    n, c = statistic.shape
    mean = statistic.reshape(n, groups, -1).mean(axis=-1, keepdims=True)
    return jnp.broadcast_to(mean, (n, groups, c // groups)).reshape(n, c)


def moments(x: Array) -> tuple[Array, Array]:
    """(n, ..., c) -> mean and variance of each example and channel, both (n, c)."""
    space = tuple(range(1, x.ndim - 1))
    mean = x.mean(axis=space, keepdims=True)
    return mean.reshape(x.shape[0], -1), jnp.square(x - mean).mean(axis=space)


def group_statistics(
    mean: Array, variance: Array, groups: int, epsilon: float
) -> tuple[Array, Array]:
    """From the moments of the channels to the mean and 1 / deviation of their groups, all (n, c).

    var_g = mean_c var_c + mean_c (mean_c - mean_g)^2
    """
    group_mean = over_group(mean, groups)
    group_variance = over_group(variance + jnp.square(mean - group_mean), groups)
    return group_mean, lax.rsqrt(group_variance + epsilon)


class GroupNorm(nnx.Module):
    """Group normalisation (Wu and He 2018): zero mean, unit variance for each example and group.

        y = (x - mean_g) / sqrt(var_g + epsilon) * scale + offset

    It has no running statistics: a reversible network evaluates every branch twice a step, and
    would update such statistics twice.
    """

    def __init__(self, features: int, groups: int, *, epsilon: float = 1e-5):
        """Takes as many groups as divide both `groups` and the features (their gcd).

        Raises:
            ValueError: fewer than one group.
        """
        if groups < 1:
            raise ValueError(f"groups is {groups}; it must be at least 1")
        self.groups = math.gcd(features, groups)
        self.epsilon = epsilon
        self.scale = nnx.Param(constant(features, 1.0))
        self.offset = nnx.Param(constant(features, 0.0))

    def __call__(self, x: Array) -> Array:
        """(n, ..., c) -> (n, ..., c), of any number of axes of space."""
        n, *space, c = x.shape
        ones = (1,) * len(space)
        per_channel = (n, *ones, c)
        mean, variance = moments(x)
        mean, inverse = group_statistics(mean, variance, self.groups, self.epsilon)
        factor = inverse * self.scale[...].reshape(1, c)
        centred = x - mean.reshape(per_channel)
        return centred * factor.reshape(per_channel) + self.offset[...].reshape(1, *ones, c)
