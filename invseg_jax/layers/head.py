"""The ends of a network: from activations to class scores."""

import jax.numpy as jnp
from flax import nnx

from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.norm import GroupNorm
from invseg_jax.layers.preactivation import preactivated_conv
from invseg_jax.reversible.layer import Array


class Head(nnx.Module):
    """GroupNorm, leaky ReLU, 1x1x1 convolution with bias: (n, d, h, w, c) -> (n, d, h, w, classes).

    Class scores are float32, whatever the precision elsewhere.
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        groups: int,
        activate: bool = True,
        execution: Execution = Execution(),
        rngs: nnx.Rngs,
    ):
        """Draws small first weights, so that all classes start nearly equal.

        Args:
            features: of the input.
            classes: of the output.
            groups: of the normalisation.
            activate: whether norm and leaky ReLU come before the convolution.
            execution: its slabs.
            rngs: draws the weights.
        """
        self.norm = GroupNorm(features, groups) if activate else None
        self.conv = Conv(features, classes, 1, bias=True, scale=0.1, rngs=rngs)
        self.execution = execution

    def __call__(self, x: Array) -> Array:
        """Activations -> logits."""
        if self.norm is None:
            return self.conv(x)
        mask = jnp.ones((x.shape[0], x.shape[-1]), jnp.float32)
        return preactivated_conv(x, self.norm, self.conv, mask, self.execution)
