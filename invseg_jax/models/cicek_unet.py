"""The 3D U-Net as published (Çiçek et al. 2016): valid convolutions, batch statistics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax, nn

from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution, StreamFormat
from invseg_jax.layers.initial import constant
from invseg_jax.layers.resample import UpConv, central, max_pool
from invseg_jax.models.network import Network
from invseg_jax.models.outputs import Outputs
from invseg_jax.models.settings import NetworkSettings
from invseg_jax.models.unet_channels import PairChannels, pairs
from invseg_jax.reversible import Memory
from invseg_jax.reversible.layer import Array


class BatchNorm(nnx.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) with the current batch's statistics, always.

    As in the paper (section 2.1) there are no running statistics: what it gives for an example
    depends on the others of the batch, so train and predict with a batch of 1.
    """

    def __init__(self, features: int, *, epsilon: float = 1e-5):
        """Starts as the mere normalisation."""
        self.epsilon = epsilon
        self.scale = nnx.Param(constant(features, 1.0))
        self.offset = nnx.Param(constant(features, 0.0))

    def __call__(self, x: Array) -> Array:
        """(n, d, h, w, c) -> (n, d, h, w, c)."""
        axes, per_channel = (0, 1, 2, 3), (1, 1, 1, 1, -1)
        centred = x - x.mean(axis=axes, keepdims=True)
        variance = jnp.square(centred).mean(axis=axes, keepdims=True)
        normalised = centred * lax.rsqrt(variance + self.epsilon)
        return normalised * self.scale[...].reshape(per_channel) + self.offset[...].reshape(
            per_channel
        )


class ValidPair(nnx.Module):
    """Twice (valid 3x3x3 convolution with bias, BatchNorm, ReLU): 4 voxels less along each axis."""

    def __init__(
        self,
        a: int,
        middle: int,
        b: int,
        *,
        batch_norm: bool,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        """Draws the weights."""
        self.convs = nnx.List(
            [
                Conv(i, o, bias=True, execution=execution, rngs=rngs)
                for i, o in ((a, middle), (middle, b))
            ]
        )
        self.norms = nnx.List([BatchNorm(middle), BatchNorm(b)] if batch_norm else [])

    def __call__(self, x: Array) -> Array:
        """(n, d, h, w, a) -> (n, d - 4, h - 4, w - 4, b)."""
        for i, conv in enumerate(self.convs):
            x = conv(x)[:, 1:-1, 1:-1, 1:-1]  # what has seen no padding
            x = nn.relu(self.norms[i](x) if self.norms else x)
        return x


@dataclass(frozen=True)
class CicekUNet3DSettings(NetworkSettings):
    """The architecture of the 3D U-Net as published.

    Attributes:
        channels: channels at the end of each level, finest first.
        batch_norm: whether to normalise; the paper has both.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    batch_norm: bool = True


class CicekUNet3D(Network):
    """Çiçek et al. 2016, section 2 and figure 2: 132x132x116 voxels in, 44x44x28 out.

    The class scores are those of the central part of the image: at each side `margin` voxels, 44 at
    four levels, serve as context alone. Skip connections are cropped and concatenated. With 3
    modalities and 3 classes it has the paper's 19,069,955 parameters, those of the normalisations
    not counted.
    """

    Settings: ClassVar = CicekUNet3DSettings
    memories: ClassVar[tuple[Memory, ...]] = ("plain", "remat")
    streams: ClassVar[tuple[StreamFormat, ...]] = ("float32",)
    # As published: valid convolutions fit few sizes, and a batch has its own statistics.
    recipe = {
        "data.patch": (132, 132, 116),
        "data.batch": 1,
        "inference.batch": 1,
        "inference.overlap": 0.0,
    }

    def __init__(
        self,
        modalities: int,
        classes: int,
        settings: CicekUNet3DSettings = CicekUNet3DSettings(),
        *,
        execution: Execution = Execution(memory="plain"),
        rngs: nnx.Rngs,
    ):
        """Builds the network.

        Args:
            modalities: channels of the input.
            classes: with the background.
            settings: of the architecture.
            execution: how it is evaluated, "plain" or "remat".
            rngs: draws the weights.

        Raises:
            ValueError: `execution` asks for what only invertible layers have.
        """
        if execution.memory == "reversible" or execution.stream != "float32":
            raise ValueError(
                "CicekUNet3D has no invertible layers: memory must be plain or remat, and stream "
                "float32"
            )
        channels = settings.channels
        self.remat = execution.memory == "remat"
        self.multiple = 1  # nothing is padded
        self.channels, self.mixes_batch = channels, settings.batch_norm
        self.levels = len(channels)
        # Level i's pairs take 4 2^i voxels at each side, the coarsest one's 2 2^i: in all
        self.margin = 6 * 2 ** (self.levels - 1) - 4
        encoder, decoder = pairs(modalities, channels)

        def pair(channels: PairChannels) -> ValidPair:
            return ValidPair(
                *channels, batch_norm=settings.batch_norm, execution=execution, rngs=rngs
            )

        self.encoder = nnx.List([pair(channels) for channels in encoder])
        self.ups = nnx.List([UpConv(coarse, coarse, rngs=rngs) for coarse in channels[1:]])
        self.decoder = nnx.List([pair(channels) for channels in decoder])
        self.end = Conv(channels[0], classes, 1, bias=True, scale=0.1, rngs=rngs)

    def output_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Voxels of the output for those of the input.

        Raises:
            ValueError: a size that leaves nothing, or an odd one before a pooling.
        """
        every = 2 ** (self.levels - 1)
        # 4 voxels less before each halving: only so are all of them even.
        remainder = -4 % every
        for voxels in size:
            if voxels <= 2 * self.margin or voxels % every != remainder:
                above = max(voxels, 2 * self.margin + 1)
                fits = above + (remainder - above) % every
                raise ValueError(
                    f"{voxels} voxels do not fit {self.levels} levels of valid convolutions; "
                    f"the next that do are {fits}"
                )
        return tuple(voxels - 2 * self.margin for voxels in size)

    def check_patch(self, size: Sequence[int]) -> None:
        """See `Network.check_patch`, and `output_size`."""
        self.output_size(size)

    def forward(self, x: Array, key: Array | None = None, *, deepest: bool = False) -> Outputs:
        """(n, d, h, w, modalities) -> logits of the image's central part, see `output_size`.

        Args:
            x: images.
            key: is not used: there is no dropout.
            deepest: is not used: the deepest activations see less than the image.

        Raises:
            ValueError: a size that does not fit.
        """
        del key, deepest
        self.output_size(x.shape[1:4])
        y, skips = x, []
        for i, block in enumerate(self.encoder):
            y = self._block(block, max_pool(y) if i else y)
            skips.append(y)
        for i in reversed(range(len(self.decoder))):
            up = self.ups[i](y)
            y = jnp.concatenate((central(skips[i], up.shape[1:4]), up), axis=-1)
            y = self._block(self.decoder[i], y)
        return Outputs(self.end(y))

    def _block(self, block: ValidPair, x: Array) -> Array:
        if self.remat:
            return jax.checkpoint(lambda block, x: block(x))(block, x)
        return block(x)
