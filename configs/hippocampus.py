"""Hippocampus, anterior and posterior, on MSD Task04 (Antonelli et al. 2022).

    python -m invseg_jax.train --config configs/hippocampus.py:cpu --data ROOT --workdir RUN
    python -m invseg_jax.evaluate --workdir RUN

ROOT holds dataset.json, imagesTr and labelsTr. Patch, loss and augmentation follow nnU-Net's plan
for this task in small. A fifth of the cases is held out, chosen as nnU-Net chooses its folds.

Measured with 208 labelled cases on 2 CPU cores (training time; Dice on the 42 held-out cases),
before the channel mixing of FullInvRes became a product of shears:

    variant       network          parameters   time     anterior  posterior  mean
    cpu           FullInvRes       1,518,278    10 min   0.884     0.874      0.879
    cpu-partial   PartialInvRes    1,649,190    11 min   0.868     0.860      0.864

`cpu-unet` and `gpu` (more steps, larger batches) have not been measured yet; nnU-Net, trained for
hours on a GPU, reaches 0.895.
"""

from invseg_jax.configuration import Config, base_config, parse_variant


def get_config(variant: str = "cpu") -> Config:
    """The configuration of a variant."""
    place, network = parse_variant(variant, ("cpu", "gpu"))
    config = base_config(network)
    config.data.layout = "msd"
    config.data.patch = (40, 56, 40)  # nnU-Net's; most crops fit in whole
    # Left and right hippocampi are mirror images; anterior and posterior are classes.
    config.augment.flip = (0.5, 0.0, 0.0)
    config.augment.affine_probability = 0.5
    config.augment.rotation = 15.0
    config.augment.scale = (0.85, 1.2)
    config.steps = 1000
    config.eval_every = 500
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
