"""The interaction network: from a slice and its prompts to the mask of that slice.

Coarse to fine, as IoG does it (Zhang et al. 2020), which Mem3D takes (Zhou et al. 2021, section
2.1): a U-Net gives logits at each level, and a second stage brings the levels together at the
finest one and corrects the result.
"""

from typing import NamedTuple

from flax import nnx

from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.head import Head
from invseg_jax.models.slice_unet import (
    Detail,
    SliceDecoder,
    SliceEncoder,
    SliceNetworkSettings,
    at_size,
    sequence,
)
from invseg_jax.reversible.layer import Array


class InteractionOutputs(NamedTuple):
    """What the interaction network gives.

    Attributes:
        logits: (n, s, s), of the object.
        coarse: logits (n, s/2, s/2), (n, s/4, s/4), ..., for the loss at each level.
    """

    logits: Array
    coarse: list[Array]


class InteractionNetwork(nnx.Module):
    """From slices with their neighbours and prompts, (n, s, s, features), to logits (n, s, s)."""

    def __init__(
        self,
        features: int,
        settings: SliceNetworkSettings,
        *,
        execution: Execution = Execution(),
        rngs: nnx.Rngs,
    ):
        """Builds the network.

        Args:
            features: channels of the input: the slice, its neighbours and the prompts.
            settings: of the architecture.
            execution: how it is evaluated.
            rngs: draws the weights.
        """
        finest = settings.channels[0]
        self.multiple = settings.multiple
        self.encoder = SliceEncoder(features, settings, execution=execution, rngs=rngs)
        self.decoder = SliceDecoder(settings, execution=execution, rngs=rngs)
        self.heads = nnx.List(
            [
                Head(c, 1, groups=settings.groups, execution=execution, rngs=rngs)
                for c in settings.channels
            ]
        )
        # The second stage sees all levels, each with the channels of the finest.
        self.lateral = nnx.List(
            [Conv(c, finest, 1, dims=2, bias=True, rngs=rngs) for c in settings.channels]
        )
        self.fine = sequence(finest, settings, execution, rngs)
        self.detail = Detail(finest, features, settings, execution=execution, rngs=rngs)

    def __call__(self, x: Array) -> InteractionOutputs:
        """(n, s, s, features) -> logits; s is a multiple of `multiple`.

        Raises:
            ValueError: another size.
        """
        refuse_size(x, self.multiple)
        levels = self.decoder(self.encoder(x))
        coarse = [head(y)[..., 0] for head, y in zip(self.heads, levels, strict=True)]
        size = levels[0].shape[1]
        joined = [at_size(conv(y), size) for conv, y in zip(self.lateral, levels, strict=True)]
        y, _ = self.fine(sum(joined[1:], joined[0]))
        return InteractionOutputs(
            self.detail(y, x) + at_size(coarse[0][..., None], 2 * size)[..., 0], coarse
        )


def refuse_size(x: Array, multiple: int) -> None:
    """Checks that a window (n, s, s, features) is square and a multiple of `multiple`.

    Raises:
        ValueError: it is not.
    """
    _, height, width, _ = x.shape
    if height != width or height % multiple:
        raise ValueError(
            f"a window of {height} x {width} pixels; it must be square, and its side a multiple of "
            f"{multiple}"
        )
