"""The networks, one architecture a file, and their registry."""

from dataclasses import fields

import jax
from flax import nnx

from invseg_jax.layers.execution import Execution
from invseg_jax.models.cicek_unet import CicekUNet3D
from invseg_jax.models.full_invres import FullInvRes
from invseg_jax.models.outputs import Outputs
from invseg_jax.models.partial_invres import PartialInvRes
from invseg_jax.models.settings import NetworkSettings
from invseg_jax.models.unet3d import UNet3D
from invseg_jax.models.vae import VAEOutputs, VAESettings

Model = UNet3D | PartialInvRes | FullInvRes | CicekUNet3D
MODELS = {
    "UNet3D": UNet3D,
    "PartialInvRes": PartialInvRes,
    "FullInvRes": FullInvRes,
    "CicekUNet3D": CicekUNet3D,
}

__all__ = [
    "MODELS",
    "CicekUNet3D",
    "FullInvRes",
    "Model",
    "NetworkSettings",
    "Outputs",
    "PartialInvRes",
    "UNet3D",
    "VAEOutputs",
    "VAESettings",
    "build",
    "margin",
]


def margin(model: Model) -> int:
    """Voxels at each side of its input for which a network gives nothing."""
    return model.margin if isinstance(model, CicekUNet3D) else 0


def build(
    name: str,
    modalities: int,
    classes: int,
    settings: NetworkSettings,
    seed: int | jax.Array,
    execution: Execution | None = None,
    vae: VAESettings | None = None,
) -> Model:
    """Builds a network by its name.

    Args:
        name: a key of `MODELS`.
        modalities: channels of the input.
        classes: with the background.
        settings: of the architecture, an instance of its class `Settings`.
        seed: of the first weights, or a random key.
        execution: how it is evaluated; by default as the architecture's own default is.
        vae: the VAE branch that regularises training, if there is to be one.

    Raises:
        ValueError: an unknown name, or settings that the architecture refuses.
    """
    if name not in MODELS:
        raise ValueError(f"no network is called {name!r}; there are {', '.join(MODELS)}")
    how = {} if execution is None else {"execution": execution}
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    branch = {} if vae is None else {"vae": vae}
    return MODELS[name](modalities, classes, **values, **branch, **how, rngs=nnx.Rngs(seed))
