"""Brain tumours with the partially reversible U-Net of Brügger et al. 2019 (arXiv 1906.06148).

    python -m invseg_jax.train --config configs/brugger.py --data ROOT --workdir RUN

ROOT is MSD Task01_BrainTumour (four modalities; the cases of BraTS 2016 and 2017). The network is
the authors': channels 60-120-240-360-480, one reversible block of F and G a level on each side,
GroupNorm of 30 groups, summed skips. With the paper's 3 outputs it has 12,365,283 parameters; with
the 4 classes of this data set, 12,365,344. Patches of 160x192x160 cover the whole brain, as there.

Differs from the paper: softmax over labels instead of sigmoids over regions, cross-entropy beside
soft Dice, AdamW with cosine decay. Not run to the end here; no score is claimed.
"""

from invseg_jax.configuration import Config, base_config
from invseg_jax.errors import UserError


def get_config(variant: str = "gpu") -> Config:
    """The configuration; `gpu` is the only variant."""
    if variant != "gpu":
        raise UserError(f"there is no variant {variant!r}; there is only gpu")
    config = base_config("PartialInvRes")
    config.model.settings.update(
        channels=(60, 120, 240, 360, 480),
        groups=30,
        activate_head=False,
        auxiliary=0,
    )
    config.data.layout = "msd"
    config.data.preprocess.crop = True  # to the brain, which the patch is to cover
    config.data.patch = (160, 192, 160)
    config.data.batch = 1
    config.data.foreground = 0.0
    config.augment.rotation = 20.0
    config.augment.scale = (0.9, 1.1)
    config.augment.blur_probability = 0.0
    config.augment.low_resolution_probability = 0.0
    config.optimiser.learning_rate = 1e-4
    config.optimiser.weight_decay = 1e-5
    config.optimiser.warmup = 1000
    config.optimiser.average = 0.999
    config.inference.batch = 1
    config.steps = 100_000
    config.eval_every = config.save_every = 2000
    return config
