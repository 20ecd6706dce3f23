"""Loss functions: what training makes small."""

import jax
import jax.numpy as jnp
from jax import nn

from invseg_jax.models import Outputs
from invseg_jax.reversible.layer import Array

_SPACE_AND_BATCH = (0, 1, 2, 3)


def soft_dice(probabilities: Array, truth: Array, *, smoothing: float = 1.0) -> Array:
    """Soft Dice of each class, summed over the batch and its voxels before the ratio.

        D_k = (2 sum p_k t_k + s) / (sum p_k + sum t_k + s)

    The squares of Milletari et al. 2016 are left out, as in nnU-Net's loss.

    Args:
        probabilities: p, (n, d, h, w, classes).
        truth: t, one-hot, of the same shape.
        smoothing: s, in voxels; a class absent from both scores 1.

    Returns:
        (classes,).
    """
    overlap = jnp.sum(probabilities * truth, axis=_SPACE_AND_BATCH)
    total = jnp.sum(probabilities, axis=_SPACE_AND_BATCH) + jnp.sum(truth, axis=_SPACE_AND_BATCH)
    return (2.0 * overlap + smoothing) / (total + smoothing)


def dice_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Mean cross-entropy plus one minus the mean soft Dice of the foreground (nnU-Net's loss).

    Voxels whose label is no class count nowhere: neither their logits nor how many they are change
    the loss (the weight 0 of Çiçek et al. 2016, section 2).

    Args:
        logits: (n, d, h, w, classes).
        labels: (n, d, h, w) integers in [0, classes), or `IGNORED` for voxels that nobody labelled.

    Returns:
        The loss, and the soft Dice of the foreground classes, (classes - 1,).
    """
    # A row of zeros where the label is no class.
    truth = nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    log_probabilities = nn.log_softmax(logits)
    labelled = jnp.maximum(jnp.sum(truth), 1.0)
    cross_entropy = -jnp.sum(truth * log_probabilities) / labelled
    known = jnp.sum(truth, axis=-1, keepdims=True)
    dice = soft_dice(jnp.exp(log_probabilities) * known, truth)[1:]
    return cross_entropy + 1.0 - jnp.mean(dice), dice


def deeply_supervised(outputs: Outputs, labels: Array) -> tuple[Array, Array]:
    """The loss at full resolution and at each auxiliary level, weighted 1, 1/2, 1/4 ...

    The weights are scaled to sum to 1. A coarse level is held against every second, fourth ...
    voxel of the labels, so that no class is invented between two others.

    Args:
        outputs: a network's logits, finest first.
        labels: (n, d, h, w) integers.

    Returns:
        The loss, and the soft Dice of the foreground classes at full resolution.
    """
    loss, dice = dice_cross_entropy(outputs.logits, labels)
    total = 1.0
    for level, logits in enumerate(outputs.auxiliary, start=1):
        every = 2**level
        coarse, _ = dice_cross_entropy(logits, labels[:, ::every, ::every, ::every])
        loss, total = loss + coarse / every, total + 1.0 / every
    return loss / total, jax.lax.stop_gradient(dice)
