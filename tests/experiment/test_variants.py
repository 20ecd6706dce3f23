import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import ModelSettings, base_experiment, parse_variant
from invseg_jax.models import MODELS


def test_parse_variant():
    assert parse_variant("cpu", ("cpu", "gpu")) == ("cpu", "FullInvRes", False)
    assert parse_variant("gpu-full", ("cpu", "gpu")) == ("gpu", "FullInvRes", False)
    assert parse_variant("gpu-partial", ("cpu", "gpu")) == ("gpu", "PartialInvRes", False)
    assert parse_variant("cpu-unet", ("cpu", "gpu")) == ("cpu", "UNet3D", False)
    assert parse_variant("cpu-vae", ("cpu", "gpu")) == ("cpu", "FullInvRes", True)
    assert parse_variant("gpu-partial-vae", ("cpu", "gpu")) == ("gpu", "PartialInvRes", True)


@pytest.mark.parametrize("variant", ["", "fast", "cpu-", "cpu-resnet", "-vae", "cpu-vae-unet"])
def test_a_wrong_variant_is_answered_with_the_right_ones(variant: str):
    with pytest.raises(UserError, match=f"no variant {variant!r}; there are cpu, gpu, .* -vae"):
        parse_variant(variant, ("cpu", "gpu"))


@pytest.mark.parametrize("network", MODELS)
def test_the_base_has_the_defaults_of_its_network(network: str):
    base = base_experiment(network)
    assert base.model == ModelSettings(network)
    assert (base.vae.latent, base_experiment(network, vae=True).vae.latent) == (0, 128)


def test_valid_convolutions_get_a_patch_that_fits_and_windows_side_by_side():
    base = base_experiment("CicekUNet3D")
    assert base.data.patch == (132, 132, 116)  # Cicek et al. 2016
    assert (base.data.batch, base.inference.batch, base.inference.overlap) == (1, 1, 0.0)


def test_no_such_network():
    with pytest.raises(UserError, match="no network is called 'UNet4D'; there are .*UNet3D"):
        base_experiment("UNet4D")
