"""The ends of a network: from activations to class scores."""

from flax import nnx
from jax import nn

from invseg_jax.layers.conv import Conv
from invseg_jax.layers.norm import GroupNorm
from invseg_jax.reversible.layer import Array


class Head(nnx.Module):
    """GroupNorm, leaky ReLU, 1x1x1 convolution with bias: (n, d, h, w, c) -> (n, d, h, w, classes).

    Attributes:
        activate: whether norm and leaky ReLU come before the convolution.
    """

    def __init__(
        self, features: int, classes: int, *, groups: int, activate: bool = True, rngs: nnx.Rngs
    ):
        """Draws small first weights, so that all classes start nearly equal."""
        self.norm = GroupNorm(features, groups) if activate else None
        self.conv = Conv(features, classes, 1, bias=True, scale=0.1, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Activations -> logits."""
        if self.norm is not None:
            x = nn.leaky_relu(self.norm(x), 0.01)
        return self.conv(x)
