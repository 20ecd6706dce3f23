"""Fully-InvRes: a segmentation network whose whole trunk is one bijection."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from flax import nnx

from invseg_jax.layers import invertible
from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution, StreamFormat
from invseg_jax.layers.invertible import Trunk, Weighted
from invseg_jax.layers.resample import crop_to, pad_to_multiple
from invseg_jax.models.network import Network, Piece
from invseg_jax.models.outputs import Outputs, check_levels, crop_levels, per_level
from invseg_jax.models.settings import Counts, NetworkSettings
from invseg_jax.reversible import Memory
from invseg_jax.reversible.layer import Array

_DEEPEST = "deepest"  # the tap on which a VAE branch hangs


@dataclass(frozen=True)
class FullInvResSettings(NetworkSettings):
    """The architecture of Fully-InvRes.

    The default has 1.50 million parameters, as those of PartialInvRes and UNet3D to 1 %, so that
    the three can be compared.

    Attributes:
        channels: channels of the stream at each level, finest first. Each but the first is a
            multiple of 8, and an eighth of it, the part that goes down, less than the level above
            has.
        couplings: number of couplings a level and side (encoder, decoder), one number or one a
            level; the coarsest level has its couplings once.
        convolutions: number of convolutions in each coupling's branch.
        groups: number of groups of the normalisations.
        dropout: spatial dropout rate in the branches.
        auxiliary: number of coarser levels give logits of their own, for deep supervision.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256)
    couplings: Counts = 2
    convolutions: int = 1
    groups: int = 8
    dropout: float = 0.0
    auxiliary: int = 1


class FullInvRes(Network):
    """Yamazaki et al. 2021 (Fully-InvRes), built as an iUNet (Etmann et al. 2020).

    A 3x3x3 convolution lifts the input to `channels[0]`. Then comes the bijective U: at each level
    couplings, an orthogonal channel mixing, and a channel split; one part is the skip connection,
    the other goes through a learned orthogonal down-sampling (which makes 8 channels of one) to the
    next level, and comes back through a learned up-sampling to be joined, mixed and coupled again.
    The trunk's parameters and its output are all that the backward pass needs. A head gives class
    scores.

    The papers give no channels, normalisation or couplings per level for 3-D; the defaults here are
    this project's own choice.
    """

    Settings: ClassVar = FullInvResSettings
    memories: ClassVar[tuple[Memory, ...]] = ("reversible", "plain", "remat")
    streams: ClassVar[tuple[StreamFormat, ...]] = ("float32", "fixed")
    short_name = "full"
    has_deepest = True

    def __init__(
        self,
        modalities: int,
        classes: int,
        settings: FullInvResSettings = FullInvResSettings(),
        *,
        execution: Execution = Execution(),
        rngs: nnx.Rngs,
    ):
        """Builds the network.

        Args:
            modalities: channels of the input.
            classes: with the background.
            settings: of the architecture.
            execution: how it is evaluated; see `layers.execution`.
            rngs: draws the weights.

        Raises:
            ValueError: channels that do not split, or numbers of couplings that do not match the
                levels.
        """
        channels, auxiliary = settings.channels, settings.auxiliary
        check_levels(channels, auxiliary)
        counts = per_level(settings.couplings, len(channels))
        for fine, coarse in zip(channels[:-1], channels[1:], strict=True):
            if coarse % 8 or not 0 < coarse // 8 < fine:
                raise ValueError(
                    f"channels {tuple(channels)}: {coarse} must be a multiple of 8 and less than "
                    f"8 x {fine}, as {coarse}/8 of the {fine} channels above go down to it"
                )
        self.channels, self.groups = channels, settings.groups
        self.multiple = 2 ** (len(channels) - 1)
        self.stem = Conv(modalities, channels[0], execution=execution, rngs=rngs)

        def block(level: int) -> Weighted:
            return invertible.couplings(
                channels[level],
                counts[level],
                convolutions=settings.convolutions,
                groups=settings.groups,
                dropout=settings.dropout,
                scale=counts[level] ** -0.5,
                execution=execution,
                rngs=rngs,
            )

        def mixing(level: int) -> Weighted:
            return invertible.mixing(channels[level], execution=execution, rngs=rngs)

        def tapped(level: int, block: Weighted) -> Weighted:
            has_head = 1 <= level <= auxiliary
            return invertible.tapped(block, str(level)) if has_head else block

        bottom = len(channels) - 1
        shape = tapped(bottom, block(bottom))
        shape = invertible.tap_added(shape, _DEEPEST)
        for level in reversed(range(bottom)):
            going_down = channels[level + 1] // 8
            # The order in which weights are drawn is that in which they are named here.
            contracting = invertible.chain(couplings=block(level), mixing=mixing(level))
            expanding = invertible.chain(blending=mixing(level), couplings=block(level))
            shape = invertible.u(
                contracting,
                channels[level] - going_down,
                invertible.down(going_down, execution=execution, rngs=rngs),
                shape,
                invertible.up(going_down, execution=execution, rngs=rngs),
                tapped(level, expanding),
            )
        self.trunk = Trunk(shape, execution=execution)
        self.add_heads(classes, auxiliary, execution=execution, rngs=rngs)

    def forward(self, x: Array, key: Array | None = None, *, deepest: bool = False) -> Outputs:
        """See `Network.forward`; any size, padded inside to a multiple of 2^(levels - 1)."""
        levels = [str(level) for level in range(1, len(self.auxiliary_heads) + 1)]
        wanted = [*levels, _DEEPEST] if deepest else levels
        y, taps = self.trunk(self.stem(pad_to_multiple(x, self.multiple)), key, taps=wanted)
        heads = zip(self.auxiliary_heads, levels, strict=True)
        auxiliary = [head(taps[level]) for head, level in heads]
        return Outputs(
            crop_to(self.head(y), x.shape),
            crop_levels(auxiliary, x.shape),
            deepest=taps.get(_DEEPEST),
        )

    def trunks(self, modalities: int, size: Sequence[int], batch: int) -> Iterator[Piece]:
        """The bijective U."""
        yield self.trunk, self.level_shape(0, self.channels[0], size, batch)
