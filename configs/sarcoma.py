"""Soft-tissue sarcoma on MR and PET: an example of data in folders of their own.

    python -m invseg_jax.check_data --config configs/sarcoma.py --data ROOT
    python -m invseg_jax.train --config configs/sarcoma.py:cpu --data ROOT --workdir RUN
    python -m invseg_jax.evaluate --workdir RUN

ROOT holds one folder a subject with mr_t1.nii.gz, pet.nii.gz and tumour.nii.gz: the collection
Soft-tissue-Sarcoma of The Cancer Imaging Archive (Vallieres et al. 2015), cropped to the tumour.
The tumour is outlined on the MR, 0.98 x 0.98 x 3.27 mm; the PET (standardised uptake value) lies on
a coarser grid and is resampled onto that of the MR. For other data, change `config.data.plain`.

`-partial` and `-unet` take another network, and `-vae` behind either, such as `cpu-vae`, adds the
VAE branch (Myronenko 2018) with half the network's widths and, but for `gpu`, makes two thirds of
the steps. On 2 CPU cores, with 37 subjects, 8 of them held out, one run each; memory is that of a
step:

    variant           network              parameters   steps   memory    Dice
    cpu               FullInvRes           1,495,748      800   225 MiB   0.794 (0.63 to 0.89)
    cpu-partial       PartialInvRes        1,509,068      800   289 MiB   0.724 (0.40 to 0.84)
    cpu-unet          UNet3D               1,508,400      530   627 MiB   0.806 (0.67 to 0.90)
    cpu-vae           FullInvRes, VAE      2,108,054      533   243 MiB   0.805 (0.70 to 0.90)
    cpu-partial-vae   PartialInvRes, VAE   2,059,910      533   307 MiB   0.747 (0.52 to 0.84)
    cpu-unet-vae      UNet3D, VAE          1,867,754      353   695 MiB   0.792 (0.63 to 0.88)

`cpu` makes 1.5 steps a second, 9 minutes in all; the steps of `cpu-unet` follow from what the two
networks take on other data. `gpu` has not been measured yet.
"""

from invseg_jax.configuration import Config, base_config, parse_variant

# About as many as 9 minutes allow on 2 CPU cores, without the VAE branch.
STEPS = {"FullInvRes": 800, "PartialInvRes": 800, "UNet3D": 530}


def get_config(variant: str = "cpu") -> Config:
    """The configuration of a variant."""
    place, network, vae = parse_variant(variant, ("cpu", "gpu"))
    config = base_config(network, vae=vae)
    config.data.layout = "plain"
    config.data.plain.images = (("mr", "*/mr_t1.nii.gz"), ("pet", "*/pet.nii.gz"))
    config.data.plain.label = "*/tumour.nii.gz"
    config.data.plain.classes = (("tumour", 1),)
    config.data.plain.reference = "mr"
    config.data.patch = (64, 64, 32)  # 63 x 63 x 105 mm
    config.data.foreground = 0.5  # a tumour is 9 % of its image
    config.augment.spacing = (0.98, 0.98, 3.27)
    config.augment.affine_probability = 0.5
    config.augment.rotation = 15.0
    config.augment.scale = (0.85, 1.2)
    config.steps = STEPS[network]
    if vae:
        # With Myronenko's widths, those of the network, a step of FullInvRes is mostly the branch.
        config.vae.widths = tuple(c // 2 for c in config.model.settings.channels)
        config.steps = round(config.steps * 2 / 3)  # in about the same time
    config.eval_every = 400
    config.eval_cases = 4
    if place == "gpu":
        config.data.patch = (96, 96, 48)
        config.steps = 12_000
        config.eval_every = config.save_every = 1000
        config.data.batch = 4
        config.inference.batch = 4
        config.optimiser.average = 0.999
        config.optimiser.warmup = 500
    return config
