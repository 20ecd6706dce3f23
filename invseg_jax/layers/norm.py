"""Group normalisation: statistics of one example alone, so that it can be evaluated again."""

import math

import jax.numpy as jnp
from flax import nnx
from jax import lax

from invseg_jax.reversible.layer import Array


class GroupNorm(nnx.Module):
    """Group normalisation (Wu and He 2018): zero mean, unit variance for each example and group.

        y = (x - mean_g) / sqrt(var_g + epsilon) * scale + offset

    It has no running statistics: a reversible network evaluates every branch twice a step, and
    would update such statistics twice.
    """

    def __init__(self, features: int, groups: int, *, epsilon: float = 1e-5):
        """Takes as many groups as divide both `groups` and the features (their gcd)."""
        self.groups = math.gcd(features, groups)
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(features))
        self.offset = nnx.Param(jnp.zeros(features))

    def __call__(self, x: Array) -> Array:
        """(n, d, h, w, c) -> (n, d, h, w, c)."""
        n, c = x.shape[0], x.shape[-1]
        per_channel = (n, 1, 1, 1, c)
        # Two steps, voxels before channels: the long sums run over whole rows of channels.
        mean = self._over_group(x.mean(axis=(1, 2, 3))).reshape(per_channel)
        centred = x - mean
        variance = self._over_group(jnp.square(centred).mean(axis=(1, 2, 3)))
        factor = lax.rsqrt(variance + self.epsilon) * self.scale[...].reshape(1, c)
        return centred * factor.reshape(per_channel) + self.offset[...].reshape(1, 1, 1, 1, c)

    def _over_group(self, statistic: Array) -> Array:
        """(n, c) -> (n, c): the mean over each channel's group."""
        n, c = statistic.shape
        mean = statistic.reshape(n, self.groups, -1).mean(axis=-1, keepdims=True)
        return jnp.broadcast_to(mean, (n, self.groups, c // self.groups)).reshape(n, c)
