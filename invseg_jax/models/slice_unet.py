"""A 2-D U-Net in two halves, for networks that look at slices: an encoder and a decoder.

Each level is a sequence of additive couplings with one gradient rule around it (Brügger et al.
2019), so the couplings inside of a level store no activations. Between levels the resolution
changes in the ordinary way. The first level already has half of the image's resolution: its pixels
hold 2 x 2 pixels of the image each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from invseg_jax.layers import invertible
from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.invertible import Trunk
from invseg_jax.layers.resample import max_pool, upsample_linear
from invseg_jax.models.settings import NetworkSettings
from invseg_jax.reversible import depth_to_space, space_to_depth
from invseg_jax.reversible.layer import Array

PLANE = (1, 2)


@dataclass(frozen=True)
class SliceNetworkSettings(NetworkSettings):
    """The architecture of the interaction network and of the memory network.

    Attributes:
        channels: at each level, finest first; the first level has half of the window's resolution.
        couplings: number of couplings in the sequence of each level.
        groups: of the normalisations; reduced to a divisor of the channels.
        key: channels of the memory's keys; Mem3D has 128.
        value: channels of the memory's values; Mem3D has 512.
        level: at which level the memory is read, counted from 0; Mem3D reads at 1/16.
        detail: channels at the window's full resolution.
    """

    channels: tuple[int, ...] = (32, 64, 96, 128)
    couplings: int = 2
    groups: int = 8
    key: int = 32
    value: int = 96
    level: int = 2
    detail: int = 8

    def __post_init__(self):
        """Checks the sizes.

        Raises:
            ValueError: one is out of range.
        """
        if len(self.channels) < 2 or min(self.channels) < 2:
            raise ValueError(f"channels {self.channels}: give 2 or more levels of 2 or more")
        if not 0 <= self.level < len(self.channels):
            raise ValueError(f"level {self.level}: there are levels 0 to {len(self.channels) - 1}")
        for name in ("couplings", "groups", "key", "value", "detail"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def multiple(self) -> int:
        """The window's sides are a multiple of it."""
        return 2 ** len(self.channels)


def sequence(
    features: int, settings: SliceNetworkSettings, execution: Execution, rngs: nnx.Rngs
) -> Trunk:
    """A sequence of couplings on images (n, h, w, features), with one gradient rule."""
    chained = invertible.couplings(
        features,
        settings.couplings,
        dims=2,
        convolutions=1,
        groups=settings.groups,
        scale=settings.couplings**-0.5,
        execution=execution,
        rngs=rngs,
    )
    return Trunk(chained, execution=execution)


def at_size(x: Array, size: int) -> Array:
    """Doubles images (n, h, w, c) until they are `size` pixels high; bilinear."""
    while x.shape[1] < size:
        x = upsample_linear(x, PLANE)
    return x


class SliceEncoder(nnx.Module):
    """From images to activations at each level.

    (n, s, s, features) -> (n, s/2, s/2, channels[0]), (n, s/4, s/4, channels[1]), ...
    """

    def __init__(
        self,
        features: int,
        settings: SliceNetworkSettings,
        *,
        levels: int | None = None,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        """Builds the encoder.

        Args:
            features: channels of the images.
            settings: of the architecture.
            levels: how many levels; None: all of the settings' channels.
            execution: how it is evaluated.
            rngs: draws the weights.
        """
        channels = settings.channels[:levels]
        self.stem = Conv(4 * features, channels[0], dims=2, execution=execution, rngs=rngs)
        self.sequences = nnx.List([sequence(c, settings, execution, rngs) for c in channels])
        steps = zip(channels[:-1], channels[1:], strict=True)
        self.downs = nnx.List([Conv(a, b, 1, dims=2, bias=True, rngs=rngs) for a, b in steps])

    def __call__(self, x: Array) -> list[Array]:
        """Images -> activations, finest first."""
        y = self.stem(space_to_depth(x))
        found = []
        for level, sequence in enumerate(self.sequences):
            if level:
                y = self.downs[level - 1](max_pool(y, PLANE))
            y, _ = sequence(y)
            found.append(y)
        return found


class SliceDecoder(nnx.Module):
    """From an encoder's activations to activations of the same shapes, with skip connections."""

    def __init__(self, settings: SliceNetworkSettings, *, execution: Execution, rngs: nnx.Rngs):
        """Builds the decoder."""
        channels = settings.channels
        self.sequences = nnx.List([sequence(c, settings, execution, rngs) for c in channels[:-1]])
        steps = zip(channels[:-1], channels[1:], strict=True)
        self.ups = nnx.List([Conv(b, a, 1, dims=2, bias=True, rngs=rngs) for a, b in steps])

    def __call__(self, skips: Sequence[Array], level: int = -1, added: Array | None = None):
        """Decodes from the coarsest level to the finest.

        Args:
            skips: what the encoder gave, finest first.
            level: where `added` joins.
            added: (n, h, w, c) like the skip of that level: what was read from a memory; None:
                nothing.

        Returns:
            Activations, finest first; the coarsest are the encoder's.
        """
        y = skips[-1] if added is None or level != len(skips) - 1 else skips[-1] + added
        found = [y]
        for i in reversed(range(len(self.sequences))):
            y = skips[i] + upsample_linear(self.ups[i](y), PLANE)
            if added is not None and i == level:
                y = y + added
            y, _ = self.sequences[i](y)
            found.append(y)
        return found[::-1]


class Detail(nnx.Module):
    """Logits at the window's full resolution, from the finest level and the input.

    The finest level has half of the resolution; two convolutions beside the input's own pixels find
    where the border lies.
    """

    def __init__(
        self,
        features: int,
        inputs: int,
        settings: SliceNetworkSettings,
        *,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        """Builds the two convolutions."""
        detail = settings.detail
        self.spread = Conv(features, 4 * detail, 1, dims=2, bias=True, rngs=rngs)
        self.mixed = Conv(
            detail + inputs, detail, dims=2, bias=True, execution=execution, rngs=rngs
        )
        self.last = Conv(detail, 1, 1, dims=2, bias=True, scale=0.1, rngs=rngs)

    def __call__(self, y: Array, x: Array) -> Array:
        """(n, s/2, s/2, features) and the input (n, s, s, inputs) -> (n, s, s) logits."""
        fine = depth_to_space(self.spread(jax.nn.leaky_relu(y)))
        mixed = self.mixed(jnp.concatenate((jax.nn.leaky_relu(fine), x), axis=-1))
        return self.last(jax.nn.leaky_relu(mixed) + fine)[..., 0]
