"""Hippocampus, anterior and posterior, on MSD Task04 (Antonelli et al. 2022).

    python -m invseg_jax.train --config configs/hippocampus.py:cpu --data ROOT --workdir RUN
    python -m invseg_jax.evaluate --workdir RUN

ROOT holds dataset.json, imagesTr and labelsTr. Patch, loss and augmentation follow nnU-Net's plan
for this task in small. A fifth of the cases is held out, chosen as nnU-Net chooses its folds.

The three networks have 1.50 million parameters each, to 1 %. On 2 CPU cores `cpu` trains for 30
minutes, in as many steps as each network takes in that time. `gpu` (more steps, larger batches) has
not been measured; nnU-Net, trained for hours on a GPU, reaches 0.895.

`cpu-vae`, `cpu-partial-vae` and so on add the VAE branch (Myronenko 2018); not measured yet.
"""

from invseg_jax.configuration import Config, base_config, parse_variant

# All with 1.50 million parameters, to 1 %.
CHANNELS = {
    "FullInvRes": (32, 64, 128, 256),
    "PartialInvRes": (32, 64, 120, 184),
    "UNet3D": (24, 48, 72, 112),
}
# As many as 30 minutes allow on 2 CPU cores.
STEPS = {"FullInvRes": 4100, "PartialInvRes": 4300, "UNet3D": 2650}


def get_config(variant: str = "cpu") -> Config:
    """The configuration of a variant."""
    place, network, vae = parse_variant(variant, ("cpu", "gpu"))
    config = base_config(network, vae=vae)
    config.data.layout = "msd"
    config.data.patch = (40, 56, 40)  # nnU-Net's; most crops fit in whole
    # Left and right hippocampi are mirror images; anterior and posterior are classes.
    config.augment.flip = (0.5, 0.0, 0.0)
    config.augment.affine_probability = 0.5
    config.augment.rotation = 15.0
    config.augment.scale = (0.85, 1.2)
    config.model.settings.channels = CHANNELS[network]
    config.steps = STEPS[network]
    config.eval_every = 1000
    if place == "gpu":
        config.steps = 12_000
        config.eval_every = config.save_every = 1000
        config.data.batch = 8
        config.inference.batch = 8
        config.optimiser.average = 0.999
        config.optimiser.warmup = 500
    else:  # as measured
        config.augment.blur_probability = 0.0
        config.augment.low_resolution_probability = 0.0
    return config
