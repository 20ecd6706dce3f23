"""The quality head: how good the mask of a slice is, without the truth.

Mem3D (Zhou et al. 2021, section 2.3) joins a slice's features and its mask, and lets convolutions
and dense layers give one score. The score here is the expected Dice of the mask.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.models.slice_unet import SliceNetworkSettings
from invseg_jax.reversible.layer import Array


class QualityHead(nnx.Module):
    """From activations of a slice and its probabilities to a logit of the expected Dice.

    No gradient goes back into the network that made them: judging does not change what is judged.
    """

    def __init__(
        self,
        features: int,
        settings: SliceNetworkSettings,
        *,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        """Builds two convolutions and two dense layers.

        Args:
            features: channels of the activations.
            settings: of the architecture.
            execution: how it is evaluated.
            rngs: draws the weights.
        """
        width = settings.channels[0]
        self.first = Conv(features + 3, width, dims=2, bias=True, execution=execution, rngs=rngs)
        self.second = Conv(width, width, dims=2, bias=True, execution=execution, rngs=rngs)
        self.dense = nnx.Linear(3 * width + 3, width, rngs=rngs)
        self.last = nnx.Linear(width, 1, rngs=rngs)

    def __call__(self, y: Array, probabilities: Array) -> Array:
        """Activations (n, h, w, features) and probabilities (n, s, s) -> (n,) logits."""
        y, p = jax.lax.stop_gradient((y, probabilities))
        unsure = 1 - jnp.abs(2 * p - 1)  # 1 at a probability of 1/2, 0 where the network is sure
        maps = _averaged(jnp.stack((p, unsure, p * unsure), -1), y.shape[1])
        z = jax.nn.leaky_relu(self.first(jnp.concatenate((y, maps), -1)))
        z = jax.nn.leaky_relu(self.second(z))
        share = jnp.clip(maps[..., :1], 0, 1)
        inside = (z * share).sum((1, 2)) / (share.sum((1, 2)) + 1e-3)
        pooled = jnp.concatenate((z.mean((1, 2)), z.max((1, 2)), inside), -1)
        total, doubt, both = (maps.mean((1, 2)) + 1e-4).T
        # The share of doubt in the mask tells the Dice of a network that knows its own doubt.
        known = jnp.stack((jnp.sqrt(total), doubt / (total + doubt), both / total), -1)
        hidden = jax.nn.leaky_relu(self.dense(jnp.concatenate((pooled, known), -1)))
        return self.last(hidden)[..., 0]


def _averaged(x: Array, size: int) -> Array:
    """Means over blocks: (n, s, s, c) -> (n, size, size, c)."""
    n, s, _, c = x.shape
    block = s // size
    return x.reshape(n, size, block, size, block, c).mean((2, 4))
