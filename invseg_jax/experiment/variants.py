"""What the files in `configs/` start from: a network's recipe, and the names of variants."""

from typing import NamedTuple

from invseg_jax.errors import UserError
from invseg_jax.experiment.experiment import Experiment
from invseg_jax.experiment.model import BranchSettings, ModelSettings
from invseg_jax.models import find, names


def base_experiment(network: str = "FullInvRes", *, vae: bool = False) -> Experiment:
    """The defaults, for one of the networks.

    Args:
        network: as `models.names` gives it.
        vae: whether the VAE branch is on, at the size and the weights of Myronenko 2018.

    Raises:
        UserError: there is no such network.
    """
    experiment = Experiment(
        model=ModelSettings(network), vae=BranchSettings(latent=128 if vae else 0)
    )
    return experiment.changed(find(network).recipe)


def short_names() -> dict[str, str]:
    """The networks that variants can ask for, by the ending of the variant's name."""
    found = {find(name).short_name: name for name in names()}
    return {short: name for short, name in found.items() if short}


class Variant(NamedTuple):
    """What a variant's name asks for.

    Attributes:
        place: one of the file's own variants.
        network: as `models.names` gives it.
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
    known, short = short_names(), "-".join(rest) if rest else "full"
    if place not in places or short not in known:
        networks = ", ".join(f"-{name}" for name in known)
        raise UserError(
            f"there is no variant {variant!r}; there are {', '.join(places)}, each with "
            f"{networks} for another network and then -vae for the VAE branch"
        )
    return Variant(place, known[short], variant.endswith("-vae"))
