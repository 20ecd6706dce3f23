"""Operators on volumes that act along each axis on its own."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def along_axes(matrices: Sequence[jax.Array | np.ndarray], volume: jax.Array) -> jax.Array:
    """Applies one matrix along depth, one along height and one along width.

    Args:
        matrices: three, (size after, size before) float32.
        volume: (D, H, W, C) float32, the sizes before.

    Returns:
        (D', H', W', C) float32, the sizes after.
    """
    # In full precision: an accelerator would round the factors to bfloat16.
    return jnp.einsum("zi,yj,xk,ijkc->zyxc", *matrices, volume, precision="highest")
