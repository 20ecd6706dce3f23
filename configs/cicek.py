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

from invseg_jax.configuration import Config, base_config
from invseg_jax.errors import UserError


def get_config(variant: str = "gpu") -> Config:
    """The configuration of a variant."""
    if variant not in ("gpu", "tiny"):
        raise UserError(f"there is no variant {variant!r}; there are gpu and tiny")
    config = base_config("CicekUNet3D")
    config.data.foreground = 0.0
    config.augment.elastic_probability = 0.5
    config.augment.elastic = 4.0  # voxels, on a grid of 32: the paper's
    config.steps = 70_000
    config.eval_every = config.save_every = 2000
    config.loss.dice = 0.0
    config.optimiser.name = "sgd"
    config.optimiser.learning_rate = 1e-2
    config.optimiser.momentum = 0.99
    config.optimiser.nesterov = False
    config.optimiser.schedule = "polynomial"
    config.optimiser.weight_decay = 3e-5
    config.optimiser.warmup = 1000
    config.optimiser.average = 0.999
    if variant == "tiny":
        config.model.settings.channels = (4, 8)
        config.data.patch = (20, 20, 20)
        config.steps = 2
        config.eval_every = config.save_every = 2
    return config
