"""The channels of the pairs of convolutions in a 3D U-Net (Çiçek et al. 2016, figure 2)."""

from collections.abc import Sequence
from typing import NamedTuple


class PairChannels(NamedTuple):
    """Channels before, between and after two convolutions."""

    before: int
    middle: int
    after: int


def pairs(
    modalities: int, channels: Sequence[int]
) -> tuple[list[PairChannels], list[PairChannels]]:
    """The pairs of the encoder and of the decoder, finest first.

    The encoder doubles the channels before the pooling, in the second convolution of a level; the
    decoder takes the skip connection and the coarser level's channels, concatenated.

    Args:
        modalities: channels of the input.
        channels: at the end of each level, finest first.
    """
    steps = list(zip(channels[:-1], channels[1:], strict=True))
    encoder = [PairChannels(modalities, max(channels[0] // 2, 1), channels[0])]
    encoder += [PairChannels(fine, max(coarse // 2, fine), coarse) for fine, coarse in steps]
    return encoder, [PairChannels(fine + coarse, fine, fine) for fine, coarse in steps]
