"""What training a segmentation network makes small, from shapes alone.

    loss(parameters, batch, key) = L(network(augment(image)), augment(label))

`train` runs it, and `plan` compiles it for arrays that do not exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from flax import nnx

from invseg_jax.data.augment import augment
from invseg_jax.data.batches.regions import Regions
from invseg_jax.experiment import Augmentation, BranchSettings, Experiment, LossSettings
from invseg_jax.layers.resample import central
from invseg_jax.reversible.layer import Array
from invseg_jax.training.losses import deeply_supervised
from invseg_jax.training.reconstruction import with_reconstruction
from invseg_jax.training.task import Batch, Parameters


@dataclass(frozen=True)
class SegmentationObjective:
    """The loss of a network on augmented patches.

    Attributes:
        network: the network's static part (`nnx.split`).
        augment: what is done to each batch.
        settings: the terms of the loss.
        branch: the weights of the VAE branch's terms, where the network has a branch.
        regions: what the outputs stand for, where that is not the classes.
        batch: shapes and types: `image` (n, d, h, w, modalities) float32, `label` (n, d, h, w)
            int32.
    """

    network: nnx.GraphDef
    augment: Augmentation
    settings: LossSettings
    branch: BranchSettings
    regions: Regions | None
    batch: Mapping[str, jax.ShapeDtypeStruct]

    @classmethod
    def build(
        cls,
        experiment: Experiment,
        network: nnx.GraphDef,
        modalities: int,
        regions: Regions | None = None,
    ) -> "SegmentationObjective":
        """The objective that an experiment asks for.

        Args:
            experiment: gives augmentation, loss, patch and batch.
            network: the network's static part.
            modalities: channels of the image.
            regions: what the outputs stand for, where that is not the classes.
        """
        shape = (experiment.patches_a_step, *experiment.data.patch)
        return cls(
            network,
            experiment.augment,
            experiment.loss,
            experiment.vae,
            regions,
            {
                "image": jax.ShapeDtypeStruct((*shape, modalities), jnp.float32),
                "label": jax.ShapeDtypeStruct(shape, jnp.int32),
            },
        )

    def with_augmentation(self, settings: Augmentation) -> "SegmentationObjective":
        """The same with another augmentation."""
        return replace(self, augment=settings)

    def loss(
        self, parameters: Parameters, batch: Batch, key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """See `training.task.Task.loss`.

        Args:
            parameters: the network's (a Flax state).
            batch: image and label.
            key: for augmentation, dropout and the branch's draw.

        Returns:
            The loss, and "dice", the mean soft Dice at full resolution (NaN where no voxel is
            labelled); with a VAE branch also "reconstruction" and "kl", without their weights.
        """
        # The scopes name what a profile shows.
        augment_key, dropout_key = jax.random.split(key)
        with jax.named_scope("augmentation"):
            image, label = augment(
                augment_key, batch["image"], batch["label"], settings=self.augment
            )
        with jax.named_scope("network"):
            outputs = nnx.merge(self.network, parameters).outputs(image, dropout_key)
        with jax.named_scope("loss"):
            # Of a network that gives the middle of its input, that is what counts.
            seen = central(label, outputs.logits.shape[1:4])
            value, dice = deeply_supervised(outputs, seen, self.settings, self.regions)
            value, terms = with_reconstruction(value, outputs.vae, image, self.branch)
            return value, {"dice": jnp.mean(dice), **terms}
