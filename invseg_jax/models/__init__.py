"""The networks, one architecture a file, and their registry."""

import difflib
from collections.abc import Iterator
from importlib.metadata import entry_points

import jax
from flax import nnx

from invseg_jax.layers.execution import Execution
from invseg_jax.models.cicek_unet import CicekUNet3D, CicekUNet3DSettings
from invseg_jax.models.full_invres import FullInvRes, FullInvResSettings
from invseg_jax.models.network import Network
from invseg_jax.models.outputs import Outputs
from invseg_jax.models.partial_invres import PartialInvRes, PartialInvResSettings
from invseg_jax.models.settings import NetworkSettings
from invseg_jax.models.unet3d import UNet3D, UNet3DSettings
from invseg_jax.models.vae import VAEOutputs, VAESettings

MODELS: dict[str, type[Network]] = {
    "FullInvRes": FullInvRes,
    "PartialInvRes": PartialInvRes,
    "UNet3D": UNet3D,
    "CicekUNet3D": CicekUNet3D,
}
# Other packages name their networks here: [project.entry-points."invseg_jax.networks"].
ENTRY_POINTS = "invseg_jax.networks"

__all__ = [
    "MODELS",
    "CicekUNet3D",
    "CicekUNet3DSettings",
    "FullInvRes",
    "FullInvResSettings",
    "Network",
    "NetworkSettings",
    "Outputs",
    "PartialInvRes",
    "PartialInvResSettings",
    "UNet3D",
    "UNet3DSettings",
    "VAEOutputs",
    "VAESettings",
    "build",
    "find",
    "names",
]


def names() -> Iterator[str]:
    """The names of all networks: those of this package, then those of others."""
    yield from MODELS
    yield from entry_points(group=ENTRY_POINTS).names


def find(name: str) -> type[Network]:
    """The class of a network.

    Args:
        name: as `names` gives it.

    Raises:
        ValueError: there is no such network; the message says which there are.
    """
    if name in MODELS:
        return MODELS[name]
    for point in entry_points(group=ENTRY_POINTS, name=name):
        return point.load()
    known = list(names())
    similar = difflib.get_close_matches(name, known, 1)
    hint = f" (did you mean {similar[0]}?)" if similar else ""
    raise ValueError(f"no network is called {name!r}; there are {', '.join(known)}{hint}")


def build(
    name: str,
    modalities: int,
    classes: int,
    settings: NetworkSettings | None = None,
    seed: int | jax.Array = 0,
    execution: Execution | None = None,
    vae: VAESettings | None = None,
) -> Network:
    """Builds a network by its name.

    Args:
        name: as `names` gives it.
        modalities: channels of the input.
        classes: with the background.
        settings: of the architecture, an instance of the network's class `Settings`; None: its
            defaults.
        seed: of the first weights, or a random key.
        execution: how it is evaluated; None: as the network does it best.
        vae: the VAE branch that regularises training; None: there is none.

    Raises:
        ValueError: an unknown name, or settings that the network refuses.
    """
    network, rngs = find(name), nnx.Rngs(seed)
    how = Execution(memory=network.memories[0]) if execution is None else execution
    chosen = network.Settings() if settings is None else settings
    built = network(modalities, classes, chosen, execution=how, rngs=rngs)
    if vae is not None:
        built.attach_vae(vae, modalities, execution=how, rngs=rngs)
    return built
