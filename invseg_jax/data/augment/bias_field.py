"""The bias field of MRI: a smooth factor on the intensities, as of a receive coil."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial.legendre import legvander

from invseg_jax.data.augment.separable import along_axes

DEGREE = 3
_SMALLEST = 1e-7


def bias_field(key: jax.Array, shape: Sequence[int], greatest: jax.Array) -> jax.Array:
    """A random factor for each voxel, the exponential of a polynomial of the third degree.

    The polynomial is a sum of products of Legendre polynomials with normally distributed
    coefficients and without a constant, scaled to the strength that is asked for (the model of
    Van Leemput et al. 1999).

    Args:
        key: typed PRNG key.
        shape: (D, H, W).
        greatest: (C,) float32, at least 1: the field of a channel reaches this factor f, or 1 / f,
            and lies between 1 / f and f everywhere.

    Returns:
        (D, H, W, C) float32, above 0.
    """
    # Voxel centres, the patch reaching from -1 to 1.
    places = [(2 * np.arange(n) + 1) / n - 1 for n in shape]
    matrices = [legvander(place, DEGREE).astype(np.float32) for place in places]
    degree = np.indices((DEGREE + 1,) * 3).sum(axis=0)
    used = ((degree > 0) & (degree <= DEGREE)).astype(np.float32)[..., None]
    coefficients = jax.random.normal(key, (*degree.shape, greatest.size), jnp.float32)
    polynomial = along_axes(matrices, coefficients * used)
    extreme = jnp.max(jnp.abs(polynomial), axis=(0, 1, 2), keepdims=True)
    strength = jnp.log(greatest)[None, None, None, :]
    return jnp.exp(strength * polynomial / jnp.maximum(extreme, _SMALLEST))
