"""First values of the weights.

They are drawn by numpy on the host, seeded from the module's own random stream: compiling one
random draw for each shape of a deep network takes longer than everything else at the start.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import core

from invseg_jax.reversible.layer import Array


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], deviation: float) -> Array:
    """Draws float32 values from N(0, deviation^2).

    Where the stream is traced (shapes only, or a jitted construction) JAX draws instead.
    """
    key = rngs.params()
    if isinstance(key, core.Tracer):
        return deviation * jax.random.normal(key, shape, jnp.float32)
    seed = np.asarray(jax.random.key_data(key)).tolist()
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    return jnp.asarray(values * np.float32(deviation))


def he_normal(
    rngs: nnx.Rngs, shape: tuple[int, ...], fan_in: int, *, scale: float = 1.0, slope: float = 0.01
) -> Array:
    """He et al. 2015 for weights that follow a leaky ReLU of that slope."""
    return normal(rngs, shape, scale * math.sqrt(2.0 / (1.0 + slope**2) / fan_in))


def constant(features: int, value: float) -> Array:
    """(features,) float32, all of that value."""
    return jnp.asarray(np.full(features, value, np.float32))


def stacked(*weights: Array) -> Array:
    """Equal shapes along a new first axis; by numpy where they are no tracers."""
    if any(isinstance(weight, core.Tracer) for weight in weights):
        return jnp.stack(weights)
    return jnp.asarray(np.stack([np.asarray(weight) for weight in weights]))
