"""The 3D U-Net (Cicek et al. 2016), same-padded: the baseline that the others are held against."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import nn

from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution, StreamFormat
from invseg_jax.layers.norm import GroupNorm
from invseg_jax.layers.resample import UpConv, crop_to, max_pool, pad_to_multiple
from invseg_jax.models.network import Network
from invseg_jax.models.outputs import Outputs, check_levels, crop_levels
from invseg_jax.models.settings import NetworkSettings
from invseg_jax.models.unet_channels import PairChannels, pairs
from invseg_jax.reversible import Memory
from invseg_jax.reversible.layer import Array


class ConvPair(nnx.Module):
    """Twice (3x3x3 convolution with bias, GroupNorm, leaky ReLU): a -> middle -> b channels."""

    def __init__(
        self, a: int, middle: int, b: int, *, groups: int, execution: Execution, rngs: nnx.Rngs
    ):
        """Draws the weights."""
        self.convs = nnx.List(
            [
                Conv(i, o, bias=True, execution=execution, rngs=rngs)
                for i, o in ((a, middle), (middle, b))
            ]
        )
        self.norms = nnx.List([GroupNorm(middle, groups), GroupNorm(b, groups)])

    def __call__(self, x: Array) -> Array:
        """(n, d, h, w, a) -> (n, d, h, w, b)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = nn.leaky_relu(norm(conv(x)), 0.01)
        return x


@dataclass(frozen=True)
class UNet3DSettings(NetworkSettings):
    """The architecture of the 3D U-Net; by default as many parameters as FullInvRes, to 1 %.

    Attributes:
        channels: channels at the end of each level, finest first.
        groups: number of groups of the normalisations.
        auxiliary: number of coarser decoder levels give logits of their own.
    """

    channels: tuple[int, ...] = (24, 48, 72, 112)
    groups: int = 8
    auxiliary: int = 1


class UNet3D(Network):
    """Cicek et al. 2016, with zero-padded convolutions and GroupNorm instead of batch statistics.

    Each level has two convolutions; channels double before the pooling; skips are concatenated.
    With channels 64-128-256-512, 3 modalities and 3 classes the convolutions have the 19,069,955
    parameters that the paper counts.
    """

    Settings: ClassVar = UNet3DSettings
    memories: ClassVar[tuple[Memory, ...]] = ("plain", "remat")
    streams: ClassVar[tuple[StreamFormat, ...]] = ("float32",)
    short_name = "unet"
    has_deepest = True

    def __init__(
        self,
        modalities: int,
        classes: int,
        settings: UNet3DSettings = UNet3DSettings(),
        *,
        execution: Execution = Execution(memory="plain"),
        rngs: nnx.Rngs,
    ):
        """Builds the network.

        Args:
            modalities: channels of the input.
            classes: with the background.
            settings: of the architecture.
            execution: how it is evaluated. Of `memory`, "plain" keeps all activations and "remat"
                those between the levels' blocks.
            rngs: draws the weights.

        Raises:
            ValueError: `execution` asks for a reversible memory or a fixed-point stream: nothing
                here is inverted.
        """
        if execution.memory == "reversible":
            raise ValueError(
                "UNet3D with memory='reversible': it has no invertible layers; use plain or remat, "
                "or PartialInvRes or FullInvRes"
            )
        if execution.stream != "float32":
            raise ValueError("UNet3D with stream='fixed': only invertible layers have a stream")
        channels, auxiliary = settings.channels, settings.auxiliary
        check_levels(channels, auxiliary)
        self.channels, self.groups = channels, settings.groups
        self.remat = execution.memory == "remat"
        self.multiple = 2 ** (len(channels) - 1)
        encoder, decoder = pairs(modalities, channels)

        def pair(channels: PairChannels) -> ConvPair:
            return ConvPair(*channels, groups=settings.groups, execution=execution, rngs=rngs)

        self.encoder = nnx.List([pair(channels) for channels in encoder])
        self.ups = nnx.List([UpConv(coarse, coarse, rngs=rngs) for coarse in channels[1:]])
        self.decoder = nnx.List([pair(channels) for channels in decoder])
        self.add_heads(
            classes,
            auxiliary,
            activate=False,
            activate_auxiliary=False,
            execution=execution,
            rngs=rngs,
        )

    def forward(self, x: Array, key: Array | None = None, *, deepest: bool = False) -> Outputs:
        """See `Network.forward`; any size, padded inside to a multiple of 2^(levels - 1).

        There is no dropout.
        """
        del key
        y = pad_to_multiple(x, self.multiple)
        skips, coarse = [], []
        for i, block in enumerate(self.encoder):
            y = self._block(block, max_pool(y) if i else y)
            skips.append(y)
        for i in reversed(range(len(self.decoder))):
            if i < len(self.auxiliary_heads):
                coarse.append(self.auxiliary_heads[i](y))
            y = jnp.concatenate((skips[i], self.ups[i](y)), axis=-1)
            y = self._block(self.decoder[i], y)
        return Outputs(
            crop_to(self.head(y), x.shape),
            crop_levels(coarse[::-1], x.shape),
            deepest=skips[-1] if deepest else None,
        )

    def _block(self, block: ConvPair, x: Array) -> Array:
        if self.remat:
            return jax.checkpoint(lambda block, x: block(x))(block, x)
        return block(x)
