"""The 3D U-Net as published by Çiçek et al. 2016 (arXiv 1606.06650): valid convolutions, tiles.

    python -m invseg_jax.train --config configs/cicek.py --data ROOT --workdir RUN \
        --config.data.layout=nnunet

Patches of 132x132x116 voxels go in, the loss and the prediction are those of the 44x44x28 in their
middle; tiles stand side by side, and around a volume there are zeros, in training too. Batch 1, and
normalisation by that batch's own statistics. Where nobody labelled, voxels have no weight: give the
data an ignored label. With 3 channels and 3 classes the convolutions have 19,069,955 parameters.

The loss is the cross-entropy alone, and the optimiser gradient descent with momentum, as published.
The paper gives no learning rate and no weights of the classes: 0.01 with nnU-Net's decay is our
choice, as are the warm-up, the clipped gradient and the averaged weights.
`--config.loss.weights='(0.5,1,2)'` weighs the classes, the background first (the paper weighs it
down, and the inner tubule up).

Not run: the Xenopus kidneys are not at hand; no score is claimed. `tiny` is for tests: two levels,
patches of 20 voxels.
"""

from dataclasses import replace

from invseg_jax.errors import UserError
from invseg_jax.experiment import (
    Augmentation,
    Experiment,
    LossSettings,
    ModelSettings,
    OptimiserSettings,
    base_experiment,
)
from invseg_jax.models import CicekUNet3DSettings


def get_config(variant: str = "gpu") -> Experiment:
    """The experiment of a variant."""
    if variant not in ("gpu", "tiny"):
        raise UserError(f"there is no variant {variant!r}; there are gpu and tiny")
    base = base_experiment("CicekUNet3D")
    optimiser = OptimiserSettings(
        name="sgd",
        learning_rate=1e-2,
        warmup=1000,
        schedule="polynomial",
        momentum=0.99,
        nesterov=False,
        weight_decay=3e-5,
        average=0.999,
    )
    experiment = replace(
        base,
        steps=70_000,
        eval_every=2000,
        save_every=2000,
        data=replace(base.data, foreground=0.0),
        # Voxels, on a grid of 32: the paper's.
        augment=Augmentation(elastic_probability=0.5, elastic=4.0),
        loss=LossSettings(dice=0.0),
        optimiser=optimiser,
    )
    if variant == "gpu":
        return experiment
    return replace(
        experiment,
        steps=2,
        eval_every=2,
        save_every=2,
        model=ModelSettings("CicekUNet3D", CicekUNet3DSettings(channels=(4, 8))),
        data=replace(experiment.data, patch=(20, 20, 20)),
        optimiser=replace(optimiser, warmup=1),
    )
