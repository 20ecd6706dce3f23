"""What the program asks of a network; each network answers for itself.

To add a network, write one file with a subclass and its settings, and enter it in the registry
(`models.MODELS`). A package of one's own can name its networks in the entry point group
"invseg_jax.networks" instead.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from invseg_jax.layers.execution import Execution, StreamFormat
from invseg_jax.layers.head import Head
from invseg_jax.models.outputs import Outputs
from invseg_jax.models.settings import NetworkSettings
from invseg_jax.models.vae import VAEBranch, VAESettings
from invseg_jax.reversible import Memory
from invseg_jax.reversible.layer import Array

# A piece of a network, called as piece(x, key), and the shape of its x.
Piece = tuple[nnx.Module, jax.ShapeDtypeStruct]
# The networks fold small numbers into the same key.
_DRAW = 1 << 30


class Network(nnx.Module):
    """A network from images to logits.

    A subclass is built as `Network(modalities, classes, settings, execution=..., rngs=...)` and
    gives `forward`. It sets `channels` and `multiple`, and has the class attributes:

    Attributes:
        Settings: the dataclass of its architecture, a `NetworkSettings`.
        memories: the ways to get its gradient, its own default first.
        streams: the number formats of its stream.
        short_name: of variants, as "unet" in "iseg:quick-unet"; "": there are none.
        has_deepest: whether `forward` gives its deepest activations, on which a VAE branch hangs.
        recipe: other defaults of an experiment with this network, by dotted names.
        channels: at each level, finest first.
        groups: of the normalisations.
        multiple: sizes are padded inside to a multiple of it.
        margin: voxels at each side of the input for which there are no logits.
        mixes_batch: whether what it gives for an image depends on the others of the batch.
        vae: the branch that regularises training, or None.
    """

    Settings: ClassVar[type[NetworkSettings]]
    memories: ClassVar[tuple[Memory, ...]] = ("plain", "remat")
    streams: ClassVar[tuple[StreamFormat, ...]] = ("float32",)
    short_name: ClassVar[str] = ""
    has_deepest: ClassVar[bool] = False
    recipe: ClassVar[Mapping[str, object]] = {}

    channels: tuple[int, ...]
    groups: int = 8
    multiple: int
    margin: int = 0
    mixes_batch: bool = False
    vae: VAEBranch | None = None

    def __init__(
        self,
        modalities: int,
        classes: int,
        settings: NetworkSettings,
        *,
        execution: Execution,
        rngs: nnx.Rngs,
    ):
        """Builds the network; each subclass has its own.

        Args:
            modalities: channels of the input.
            classes: with the background.
            settings: of the architecture, an instance of `Settings`.
            execution: how it is evaluated.
            rngs: draws the weights.
        """
        raise NotImplementedError(type(self).__name__)

    def forward(self, x: Array, key: Array | None = None, *, deepest: bool = False) -> Outputs:
        """(n, d, h, w, modalities) -> logits; the network itself.

        Args:
            x: images.
            key: of a training step: switches dropout on.
            deepest: whether to give the deepest activations too.
        """
        raise NotImplementedError(type(self).__name__)

    def check_patch(self, size: Sequence[int]) -> None:
        """Checks that the network takes images of a size (D, H, W).

        Raises:
            ValueError: it does not; the message says which sizes it takes.
        """

    def trunks(self, modalities: int, size: Sequence[int], batch: int) -> Iterator[Piece]:
        """The pieces whose activations a gradient needs, with the shapes of their inputs.

        Args:
            modalities: channels of the image.
            size: (D, H, W) of the image.
            batch: images.

        Yields:
            Here the whole network; the invertible parts of a network that has some.
        """
        yield self, self.level_shape(0, modalities, size, batch)

    def level_shape(
        self, level: int, channels: int, size: Sequence[int], batch: int
    ) -> jax.ShapeDtypeStruct:
        """The shape of activations at a level, of images of a size padded to `multiple`."""
        every = self.multiple
        sizes = (-(-length // every) * every // 2**level for length in size)
        return jax.ShapeDtypeStruct((batch, *sizes, channels), jnp.float32)

    def outputs(self, x: Array, key: Array | None = None) -> Outputs:
        """(n, d, h, w, modalities) -> logits at full resolution and on the auxiliary levels.

        Args:
            x: images. With a VAE branch on, of the size that the branch is made for.
            key: of a training step: switches dropout and the VAE branch on.
        """
        if self.vae is None or key is None:
            return self.forward(x, key)
        found = self.forward(x, key, deepest=True)
        assert found.deepest is not None
        vae = self.vae(found.deepest, jax.random.fold_in(key, _DRAW))
        return found._replace(vae=vae, deepest=None)

    def __call__(self, x: Array, key: Array | None = None) -> Array:
        """(n, d, h, w, modalities) -> (n, d, h, w, classes) logits."""
        return self.outputs(x, key).logits

    def add_heads(
        self,
        classes: int,
        auxiliary: int,
        *,
        activate: bool = True,
        activate_auxiliary: bool = True,
        execution: Execution,
        rngs: nnx.Rngs,
    ) -> None:
        """Makes `head`, and `auxiliary_heads` for the levels 1 to `auxiliary`.

        Args:
            classes: of the logits.
            auxiliary: how many coarser levels give logits of their own.
            activate: whether the head normalises and activates first.
            activate_auxiliary: the same of the auxiliary heads.
            execution: how they are evaluated.
            rngs: draws the weights.
        """

        def head(level: int, activate: bool) -> Head:
            return Head(
                self.channels[level],
                classes,
                groups=self.groups,
                activate=activate,
                execution=execution,
                rngs=rngs,
            )

        self.head = head(0, activate)
        levels = range(1, auxiliary + 1)
        self.auxiliary_heads = nnx.List([head(level, activate_auxiliary) for level in levels])

    def attach_vae(
        self, settings: VAESettings, modalities: int, *, execution: Execution, rngs: nnx.Rngs
    ) -> None:
        """Hangs a VAE branch on the deepest activations; its parameters are named "vae".

        Raises:
            ValueError: the network gives no deepest activations, or the branch's widths do not fit.
        """
        name = type(self).__name__
        if not self.has_deepest:
            raise ValueError(f"{name} takes no VAE branch: it gives no deepest activations")
        self.vae = VAEBranch(
            settings,
            modalities,
            self.channels,
            groups=self.groups,
            execution=execution,
            rngs=rngs,
        )
