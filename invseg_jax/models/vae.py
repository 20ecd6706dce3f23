"""The variational auto-encoder branch: a second decoder that regularises a network's encoder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import nn

from invseg_jax.layers.branch import ResidualBranch
from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.initial import constant, he_normal
from invseg_jax.layers.norm import GroupNorm
from invseg_jax.layers.preactivation import preactivated_conv
from invseg_jax.models.vae_level import level, level_again
from invseg_jax.reversible.layer import Array

# Channels on both sides of the dense layers (Myronenko 2018, table 1).
_NARROW = 16


@dataclass(frozen=True)
class VAESettings:
    """What a network is told of its branch.

    Attributes:
        size: voxels of the images, (D, H, W): the dense layers are made for it.
        latent: how many numbers describe an image.
        widths: channels of the branch at each of the network's levels, finest first; where empty,
            the network's own.

    Raises:
        ValueError: no latent number.
    """

    size: tuple[int, int, int]
    latent: int = 128
    widths: tuple[int, ...] = ()

    def __post_init__(self):
        """Checks the number."""
        if self.latent < 1:
            raise ValueError(f"a VAE branch of {self.latent} latent numbers; it needs at least 1")


class VAEOutputs(NamedTuple):
    """What the branch makes of a batch.

    Attributes:
        image: the reconstructed input, (n, d, h, w, modalities).
        mean: of the latent distribution, (n, latent).
        log_variance: of the same.
    """

    image: Array
    mean: Array
    log_variance: Array


class _Dense(nnx.Module):
    """A matrix product with bias: (n, a) -> (n, b)."""

    def __init__(self, a: int, b: int, *, scale: float = 1.0, rngs: nnx.Rngs):
        self.kernel = nnx.Param(he_normal(rngs, (a, b), a, scale=scale))
        self.bias = nnx.Param(constant(b, 0.0))

    def __call__(self, x: Array) -> Array:
        return jnp.matmul(x, self.kernel[...]) + self.bias[...].reshape(1, -1)


class VAEBranch(nnx.Module):
    """Myronenko 2018, section 2.3 and table 1; Yamazaki et al. 2021 hang it on theirs.

    The deepest activations are halved in size at 16 channels, and a dense layer gives mean and
    logarithm of the variance of the latent numbers z. From a drawn z a dense layer and one residual
    block a level, up-sampled linearly between them, lead back to the image, without skips.

        z = mean + exp(log_variance / 2) * noise,     noise ~ N(0, 1)
        log_variance = a for a <= 0,  log(1 + a) above,     a from the dense layer

    Sizes need not be even: each level is cut to what the image covers there. Activations are leaky
    as in the rest of the network; with "remat" and "reversible" memory a level's are made again in
    the backward pass.
    """

    def __init__(
        self,
        settings: VAESettings,
        modalities: int,
        channels: Sequence[int],
        *,
        groups: int,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        """Builds the branch.

        Args:
            settings: its size.
            modalities: channels of the image.
            channels: of the network at each level, finest first.
            groups: of the normalisations.
            execution: how it is evaluated.
            rngs: draws the weights.

        Raises:
            ValueError: widths that do not match the levels.
        """
        widths = settings.widths or tuple(channels)
        if len(widths) != len(channels) or min(widths) < 1:
            raise ValueError(
                f"widths {widths} of the VAE branch for {len(channels)} levels; give one of at "
                "least 1 for each, or none"
            )
        self.image_size, self.execution = settings.size, execution
        self.sizes = tuple(
            tuple(-(-size // 2**level) for size in settings.size) for level in range(len(widths))
        )
        self.grid = tuple(-(-size // 2) for size in self.sizes[-1])
        numbers = _NARROW * math.prod(self.grid)
        self.norm = GroupNorm(channels[-1], groups)
        self.reduce = Conv(channels[-1], _NARROW, execution=execution, rngs=rngs)
        # Small, so that the variances begin near 1.
        self.to_latent = _Dense(numbers, 2 * settings.latent, scale=0.1, rngs=rngs)
        self.from_latent = _Dense(settings.latent, numbers, rngs=rngs)
        steps = zip((*widths[1:], _NARROW), widths, strict=True)
        self.ups = nnx.List([Conv(a, b, 1, bias=True, rngs=rngs) for a, b in steps])
        self.blocks = nnx.List(
            [
                ResidualBranch(
                    width, width, convolutions=2, groups=groups, execution=execution, rngs=rngs
                )
                for width in widths[:-1]
            ]
        )
        # Zero, so that the first reconstruction is the mean of a normalised image. No norm stands
        # before it: a drawn kernel begins with ten times that error, whose gradient is all that
        # the clipping leaves of the segmentation's for the first hundred steps.
        self.end = Conv(widths[0], modalities, 1, bias=True, scale=0.0, rngs=rngs)

    def __call__(self, deepest: Array, key: Array) -> VAEOutputs:
        """The network's deepest activations -> the image again.

        Args:
            deepest: (n, d, h, w, channels[-1]), of images of the size that the branch is made for.
            key: draws the latent numbers.

        Raises:
            ValueError: images of another size.
        """
        if deepest.shape[1:4] != self.sizes[-1]:
            raise ValueError(
                f"the VAE branch is made for images of {self.image_size} voxels, "
                f"{self.sizes[-1]} at the deepest level, and got {deepest.shape[1:4]} there"
            )
        mean, log_variance = self.encode(deepest)
        noise = jax.random.normal(key, mean.shape)
        return VAEOutputs(
            self.decode(mean + jnp.exp(0.5 * log_variance) * noise), mean, log_variance
        )

    def encode(self, deepest: Array) -> tuple[Array, Array]:
        """The network's deepest activations -> mean and log variance, both (n, latent)."""
        mask = jnp.ones((deepest.shape[0], deepest.shape[-1]), jnp.float32)
        y = preactivated_conv(deepest, self.norm, self.reduce, mask, self.execution)
        y = y[:, ::2, ::2, ::2]  # a convolution of stride 2: every second voxel of one of stride 1
        mean, a = jnp.split(self.to_latent(y.reshape(y.shape[0], -1)), 2, axis=-1)
        # Beyond the prior's the variance grows with a, not with exp(a). The divergence counts so
        # little beside the image (it is divided by the voxels) that a reaches 30 early in training:
        # a deviation of 3e6, and a step whose gradient leaves nothing of the segmentation's.
        return mean, jnp.where(a > 0, jnp.log1p(jnp.maximum(a, 0)), a)

    def decode(self, z: Array) -> Array:
        """(n, latent) -> (n, d, h, w, modalities)."""
        y = nn.relu(self.from_latent(z)).reshape(z.shape[0], *self.grid, _NARROW)
        step = level if self.execution.memory == "plain" else level_again
        for i in reversed(range(len(self.sizes))):
            block = self.blocks[i] if i < len(self.blocks) else None
            y = step(self.ups[i], block, None if i else self.end, y, self.sizes[i])
        return y
