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

from dataclasses import replace

from invseg_jax.experiment import (
    Augmentation,
    Experiment,
    InferenceSettings,
    OptimiserSettings,
    PlainSettings,
    base_experiment,
    parse_variant,
)

# About as many as 9 minutes allow on 2 CPU cores, without the VAE branch.
STEPS = {"FullInvRes": 800, "PartialInvRes": 800, "UNet3D": 530}
FILES = PlainSettings(
    images=(("mr", "*/mr_t1.nii.gz"), ("pet", "*/pet.nii.gz")),
    label="*/tumour.nii.gz",
    classes=(("tumour", 1),),
    reference="mr",
)


def get_config(variant: str = "cpu") -> Experiment:
    """The experiment of a variant."""
    place, network, vae = parse_variant(variant, ("cpu", "gpu"))
    base = base_experiment(network, vae=vae)
    steps = STEPS[network]
    if vae:
        steps = round(steps * 2 / 3)  # in about the same time
    experiment = replace(
        base,
        steps=steps,
        eval_every=400,
        eval_cases=4,
        # With Myronenko's widths, those of the network, a step of FullInvRes is mostly the branch.
        vae=replace(base.vae, widths=tuple(c // 2 for c in base.model.channels) if vae else ()),
        data=replace(
            base.data,
            layout="plain",
            plain=FILES,
            patch=(64, 64, 32),  # 63 x 63 x 105 mm
            foreground=0.5,  # a tumour is 9 % of its image
        ),
        augment=Augmentation(
            spacing=(0.98, 0.98, 3.27),
            affine_probability=0.5,
            rotation=15.0,
            scale=(0.85, 1.2),
        ),
    )
    if place == "cpu":
        return experiment
    return replace(
        experiment,
        steps=12_000,
        eval_every=1000,
        save_every=1000,
        data=replace(experiment.data, patch=(96, 96, 48), batch=4),
        optimiser=OptimiserSettings(warmup=500, average=0.999),
        inference=InferenceSettings(batch=4),
    )
