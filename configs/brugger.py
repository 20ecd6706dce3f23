"""Brain tumours with the partially reversible U-Net of Brügger et al. 2019 (arXiv 1906.06148).

    python -m invseg_jax.train --config configs/brugger.py --data ROOT --workdir RUN

ROOT is MSD Task01_BrainTumour (four modalities; the cases of BraTS 2016 and 2017). The network is
the authors': channels 60-120-240-360-480, one reversible block of F and G a level on each side,
GroupNorm of 30 groups, summed skips. With the paper's 3 outputs it has 12,365,283 parameters; with
the 4 classes of this data set, 12,365,344. Patches of 160x192x160 cover the whole brain, as there.

Differs from the paper: softmax over labels instead of sigmoids over regions, cross-entropy beside
soft Dice, AdamW with cosine decay. Not run to the end here; no score is claimed.
"""

from dataclasses import replace

from invseg_jax.errors import UserError
from invseg_jax.experiment import (
    Augmentation,
    Experiment,
    InferenceSettings,
    ModelSettings,
    OptimiserSettings,
    Preprocessing,
    base_experiment,
)
from invseg_jax.models import PartialInvResSettings


def get_config(variant: str = "gpu") -> Experiment:
    """The experiment; `gpu` is the only variant."""
    if variant != "gpu":
        raise UserError(f"there is no variant {variant!r}; there is only gpu")
    base = base_experiment("PartialInvRes")
    network = PartialInvResSettings(
        channels=(60, 120, 240, 360, 480), groups=30, activate_head=False, auxiliary=0
    )
    return replace(
        base,
        steps=100_000,
        eval_every=2000,
        save_every=2000,
        model=ModelSettings("PartialInvRes", network),
        data=replace(
            base.data,
            layout="msd",
            preprocess=Preprocessing(crop=True),  # to the brain, which the patch is to cover
            patch=(160, 192, 160),
            batch=1,
            foreground=0.0,
        ),
        augment=Augmentation(
            rotation=20.0, scale=(0.9, 1.1), blur_probability=0.0, low_resolution_probability=0.0
        ),
        optimiser=OptimiserSettings(
            learning_rate=1e-4, weight_decay=1e-5, warmup=1000, average=0.999
        ),
        inference=InferenceSettings(batch=1),
    )
