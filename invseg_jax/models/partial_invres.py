"""Partially-InvRes: coupling sequences on each level, ordinary changes of resolution between."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from invseg_jax.layers import invertible
from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution, StreamFormat
from invseg_jax.layers.invertible import Trunk
from invseg_jax.layers.resample import crop_to, max_pool, pad_to_multiple, upsample_linear
from invseg_jax.models.network import Network, Piece
from invseg_jax.models.outputs import Outputs, check_levels, crop_levels, per_level
from invseg_jax.models.settings import Counts, NetworkSettings
from invseg_jax.reversible import Memory
from invseg_jax.reversible.layer import Array


@dataclass(frozen=True)
class PartialInvResSettings(NetworkSettings):
    """The architecture of Partially-InvRes; by default as many parameters as FullInvRes, to 1 %.

    Attributes:
        channels: channels at each level, finest first.
        couplings: number of couplings in each encoder level's sequence, one number or one a level.
        decoder_couplings: the same for the decoder; None: as in the encoder.
        convolutions: number of convolutions in each coupling's branch.
        groups: number of groups of the normalisations; reduced to a divisor of the channels.
        dropout: spatial dropout rate in the branches.
        skip: how the encoder's activations join the decoder: "sum", or "concat" and then brought
            back to the level's channels by a 1x1x1 convolution.
        activate_head: whether to normalise and activate before the last convolution; Brügger's
            network does not.
        auxiliary: number of coarser decoder levels give logits of their own.
    """

    channels: tuple[int, ...] = (32, 64, 120, 184)
    couplings: Counts = 2
    decoder_couplings: Counts | None = 2
    convolutions: int = 1
    groups: int = 8
    dropout: float = 0.0
    skip: Literal["sum", "concat"] = "sum"
    activate_head: bool = True
    auxiliary: int = 1


class PartialInvRes(Network):
    """The partially reversible U-Net of Brügger et al. 2019 (Partially-InvRes in Yamazaki 2021).

    Encoder level: max-pool, 1x1x1 convolution, coupling sequence. Decoder level: coupling sequence,
    1x1x1 convolution, trilinear up-sampling, skip. Each sequence has one gradient rule around it:
    depth within a level is free, and the memory is that of the levels' ends.

    With channels 60-120-240-360-480 and two couplings a level (one reversible block of F and G) on
    each side, 4 modalities and 3 classes, it has the 12,365,283 parameters of the authors' code.
    """

    Settings: ClassVar = PartialInvResSettings
    memories: ClassVar[tuple[Memory, ...]] = ("reversible", "plain", "remat")
    streams: ClassVar[tuple[StreamFormat, ...]] = ("float32", "fixed")
    short_name = "partial"
    has_deepest = True

    def __init__(
        self,
        modalities: int,
        classes: int,
        settings: PartialInvResSettings = PartialInvResSettings(),
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
            ValueError: an unknown skip, or counts that do not match the levels.
        """
        skip, channels, auxiliary = settings.skip, settings.channels, settings.auxiliary
        if skip not in ("sum", "concat"):
            raise ValueError(f"skip is {skip!r}; it can be sum or concat")
        check_levels(channels, auxiliary)
        self.channels, self.groups = channels, settings.groups
        levels = len(channels)
        encoder = per_level(settings.couplings, levels)
        decoder = encoder
        if settings.decoder_couplings is not None:
            decoder = per_level(settings.decoder_couplings, levels)

        def sequence(level: int, count: int) -> Trunk:
            chained = invertible.couplings(
                channels[level],
                count,
                convolutions=settings.convolutions,
                groups=settings.groups,
                dropout=settings.dropout,
                scale=count**-0.5,
                execution=execution,
                rngs=rngs,
            )
            return Trunk(chained, execution=execution)

        def pointwise(features_in: int, features_out: int) -> Conv:
            return Conv(features_in, features_out, 1, bias=True, rngs=rngs)

        steps = list(zip(channels[:-1], channels[1:], strict=True))
        self.multiple = 2 ** (levels - 1)
        self.stem = Conv(modalities, channels[0], execution=execution, rngs=rngs)
        self.encoder = nnx.List([sequence(i, encoder[i]) for i in range(levels)])
        self.decoder = nnx.List([sequence(i, decoder[i]) for i in range(levels)])
        self.downs = nnx.List([pointwise(fine, coarse) for fine, coarse in steps])
        self.ups = nnx.List([pointwise(coarse, fine) for fine, coarse in steps])
        joins = [pointwise(2 * fine, fine) for fine, _ in steps] if skip == "concat" else []
        self.joins = nnx.List(joins)
        self.add_heads(
            classes, auxiliary, activate=settings.activate_head, execution=execution, rngs=rngs
        )

    def forward(self, x: Array, key: Array | None = None, *, deepest: bool = False) -> Outputs:
        """See `Network.forward`; any size, padded inside to a multiple of 2^(levels - 1)."""

        def key_of(index: int) -> Array | None:
            return None if key is None else jax.random.fold_in(key, index)

        y = self.stem(pad_to_multiple(x, self.multiple))
        skips, coarse = [], []
        levels = len(self.encoder)
        for i in range(levels):
            if i > 0:
                y = self.downs[i - 1](max_pool(y))
            y, _ = self.encoder[i](y, key_of(i))
            skips.append(y)
        for i in reversed(range(levels)):
            y, _ = self.decoder[i](y, key_of(levels + i))
            if 1 <= i <= len(self.auxiliary_heads):
                coarse.append(self.auxiliary_heads[i - 1](y))
            if i > 0:
                # The convolution commutes with the interpolation and costs an eighth before it.
                y = self._join(i - 1, upsample_linear(self.ups[i - 1](y)), skips[i - 1])
        return Outputs(
            crop_to(self.head(y), x.shape),
            crop_levels(coarse[::-1], x.shape),
            deepest=skips[-1] if deepest else None,
        )

    def trunks(self, modalities: int, size: Sequence[int], batch: int) -> Iterator[Piece]:
        """The coupling sequences of encoder and decoder."""
        for sequences in (self.encoder, self.decoder):
            for level, sequence in enumerate(sequences):
                yield sequence, self.level_shape(level, self.channels[level], size, batch)

    def _join(self, level: int, y: Array, skip: Array) -> Array:
        if not self.joins:
            return y + skip
        return self.joins[level](jnp.concatenate((skip, y), axis=-1))
