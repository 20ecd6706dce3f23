"""What the files in `configs/` start from: a network's recipe, and the names of variants."""

from typing import NamedTuple

from invseg_jax.errors import UserError
from invseg_jax.experiment.data import DataSettings
from invseg_jax.experiment.experiment import Experiment
from invseg_jax.experiment.inference import InferenceSettings
from invseg_jax.experiment.model import BranchSettings, ModelSettings

SHORT_NAMES = {"full": "FullInvRes", "partial": "PartialInvRes", "unet": "UNet3D"}


def base_experiment(network: str = "FullInvRes", *, vae: bool = False) -> Experiment:
    """The defaults, for one of the networks.

    Args:
        network: a key of `models.MODELS`.
        vae: whether the VAE branch is on, at the size and the weights of Myronenko 2018.

    Raises:
        UserError: there is no such network.
    """
    experiment = Experiment(
        model=ModelSettings(network), vae=BranchSettings(latent=128 if vae else 0)
    )
    if network != "CicekUNet3D":
        return experiment
    # As published: valid convolutions fit few sizes, and a batch has its own statistics.
    return experiment.changed(
        {
            "data": DataSettings(patch=(132, 132, 116), batch=1),
            "inference": InferenceSettings(batch=1, overlap=0.0),
        }
    )


class Variant(NamedTuple):
    """What a variant's name asks for.

    Attributes:
        place: one of the file's own variants.
        network: a key of `models.MODELS`.
        vae: whether it is trained with the VAE branch.
    """

    place: str
    network: str = "FullInvRes"
    vae: bool = False


def parse_variant(variant: str, places: tuple[str, ...]) -> Variant:
    """Reads a variant of the form PLACE[-NETWORK][-vae], such as "cpu" or "cpu-partial-vae".

    Args:
        variant: what follows the colon of `--config FILE.py:VARIANT`.
        places: the file's own variants.

    Returns:
        Its parts; the network is FullInvRes where none is given.

    Raises:
        UserError: a variant that the file does not have.
    """
    place, *rest = variant.removesuffix("-vae").split("-")
    short = "-".join(rest) if rest else "full"
    if place not in places or short not in SHORT_NAMES:
        networks = ", ".join(f"-{name}" for name in SHORT_NAMES)
        raise UserError(
            f"there is no variant {variant!r}; there are {', '.join(places)}, each with "
            f"{networks} for another network and then -vae for the VAE branch"
        )
    return Variant(place, SHORT_NAMES[short], variant.endswith("-vae"))
