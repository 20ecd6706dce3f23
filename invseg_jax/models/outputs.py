"""What the networks have in common: their outputs, and numbers given once or for each level."""

from collections.abc import Sequence
from typing import NamedTuple

from invseg_jax.layers.resample import crop_to
from invseg_jax.models.vae import VAEOutputs
from invseg_jax.reversible.layer import Array


class Outputs(NamedTuple):
    """Logits of one forward pass.

    Attributes:
        logits: (n, d, h, w, classes), of the input's size, or of its middle (`margin`).
        auxiliary: logits at half, a quarter ... of that resolution, for deep supervision:
            (n, ceil(d/2), ceil(h/2), ceil(w/2), classes) and so on; empty where there are none.
        vae: of the VAE branch, where there is one and a key was given.
        deepest: the activations at the coarsest level, where they were asked for.
    """

    logits: Array
    auxiliary: tuple[Array, ...] = ()
    vae: VAEOutputs | None = None
    deepest: Array | None = None


def crop_levels(auxiliary: Sequence[Array], shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Crops auxiliary logits, at half resolution first, to those voxels that the input covers."""
    cropped = []
    for level, logits in enumerate(auxiliary, start=1):
        size = tuple(-(-s // 2**level) for s in shape[1:4])
        cropped.append(crop_to(logits, (shape[0], *size)))
    return tuple(cropped)


def check_levels(channels: Sequence[int], auxiliary: int) -> None:
    """Checks what every network takes.

    Raises:
        ValueError: no level, one without channels, or more auxiliary outputs than coarser levels.
    """
    if not channels or min(channels) < 1:
        raise ValueError(f"channels {tuple(channels)}: give at least one level, of at least 1 each")
    if not 0 <= auxiliary < len(channels):
        raise ValueError(f"auxiliary {auxiliary}: there are {len(channels) - 1} coarser levels")


def per_level(count: int | Sequence[int], levels: int) -> tuple[int, ...]:
    """One number for all levels, or one a level.

    Raises:
        ValueError: as many numbers as there are no levels, or one below 1.
    """
    counts = (count,) * levels if isinstance(count, int) else tuple(count)
    if len(counts) != levels or min(counts) < 1:
        raise ValueError(
            f"{counts} given for {levels} levels; give one number of at least 1 for each"
        )
    return counts
