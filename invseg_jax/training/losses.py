"""Loss functions: what training makes small."""

import jax
import jax.numpy as jnp
import optax
from jax import nn

from invseg_jax.data.batches.regions import Regions
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.experiment import LossSettings
from invseg_jax.models import Outputs
from invseg_jax.reversible.layer import Array

_SPACE = (1, 2, 3)


def soft_dice(
    probabilities: Array,
    truth: Array,
    *,
    squared: bool = False,
    per_sample: bool = False,
    smoothing: float = 1.0,
) -> Array:
    """Soft Dice of each class, summed over voxels, and over the batch or not, before the ratio.

        D_k = (2 sum p_k t_k + s) / (sum p_k + sum t_k + s)          as nnU-Net, or squared:
        D_k = (2 sum p_k t_k + s) / (sum p_k^2 + sum t_k^2 + s)      Milletari et al. 2016, eq. 2

    **The empty class**: one that is absent from the truth scores s / (sum p_k + s). That is 1, and
    costs nothing, where it is not predicted either, and falls towards 0 with every voxel predicted.

    Args:
        probabilities: p, (n, d, h, w, classes).
        truth: t, one-hot or the masks of regions, of the same shape.
        squared: which of the two.
        per_sample: whether each sample has a ratio of its own.
        smoothing: s, in voxels, above 0.

    Returns:
        (classes,), or (n, classes) per sample.
    """
    axes = _SPACE if per_sample else (0, *_SPACE)
    overlap = jnp.sum(probabilities * truth, axis=axes)
    if squared:
        probabilities, truth = probabilities**2, truth**2
    total = jnp.sum(probabilities, axis=axes) + jnp.sum(truth, axis=axes)
    return (2.0 * overlap + smoothing) / (total + smoothing)


def segmentation_loss(
    logits: Array,
    labels: Array,
    settings: LossSettings = LossSettings(),
    regions: Regions | None = None,
) -> tuple[Array, Array]:
    """The loss of one resolution.

    The cross-entropy is a mean over voxels, and over regions; with `settings.weights` the weighted
    mean. Voxels whose label is no class count nowhere: neither their logits nor how many they are
    change the loss (the weight 0 of Çiçek et al. 2016, section 2).

    Args:
        logits: (n, d, h, w, classes), or (n, d, h, w, regions).
        labels: (n, d, h, w) class indices, or `IGNORED` for voxels that nobody labelled.
        settings: what is added up.
        regions: what the outputs stand for, where that is not the classes.

    Returns:
        The loss, and the soft Dice of the foreground classes or of the regions, averaged over the
        samples if it is taken of each. This Dice is for display: it has no gradient, and is NaN
        where no voxel is labelled; the loss counts such a batch as a Dice of 1.
    """
    if regions is None:
        cross_entropy, probabilities, truth = _class_terms(logits, labels, settings.weights)
    else:
        masks = regions.masks(labels).astype(logits.dtype)
        cross_entropy, probabilities, truth = _region_terms(logits, labels, masks, settings.weights)
    dice = soft_dice(
        probabilities,
        truth,
        squared=settings.squared,
        per_sample=settings.per_sample,
        smoothing=settings.smoothing,
    )
    shown = _of_what_is_labelled(dice, labels)
    if settings.per_sample:
        dice = jnp.mean(dice, axis=0)
    if regions is None:
        foreground, shown = dice[1:], shown[1:]
    else:
        foreground = dice
    mean = jnp.mean(dice if settings.background else foreground)
    if not settings.cross_entropy:  # 0 times infinity would be no number
        return settings.dice * (1.0 - mean), shown
    return settings.cross_entropy * cross_entropy + settings.dice - settings.dice * mean, shown


def _of_what_is_labelled(dice: Array, labels: Array) -> Array:
    """The Dice of each class, averaged over samples with a labelled voxel; NaN without any."""
    dice = jax.lax.stop_gradient(dice)
    labelled = jnp.any(labels != IGNORED, axis=_SPACE)
    if dice.ndim == 2:
        return jnp.mean(dice, axis=0, where=labelled[:, None])
    return jnp.where(jnp.any(labelled), dice, jnp.nan)


def deeply_supervised(
    outputs: Outputs,
    labels: Array,
    settings: LossSettings = LossSettings(),
    regions: Regions | None = None,
) -> tuple[Array, Array]:
    """The loss at full resolution and at each auxiliary level, weighted 1, 1/2, 1/4 ...

    The weights are scaled to sum to 1. A coarse level is held against every second, fourth ...
    voxel of the labels, so that no class is invented between two others.

    Args:
        outputs: a network's logits, finest first.
        labels: (n, d, h, w) integers.
        settings: as in `segmentation_loss`.
        regions: as in `segmentation_loss`.

    Returns:
        The loss, and the soft Dice of the foreground at full resolution, see `segmentation_loss`.
    """
    loss, dice = segmentation_loss(outputs.logits, labels, settings, regions)
    total = 1.0
    for level, logits in enumerate(outputs.auxiliary, start=1):
        every = 2**level
        coarse, _ = segmentation_loss(
            logits, labels[:, ::every, ::every, ::every], settings, regions
        )
        loss, total = loss + coarse / every, total + 1.0 / every
    return loss / total, dice


Terms = tuple[Array, Array, Array]  # cross-entropy; probabilities and truth, 0 where not labelled


def _class_terms(logits: Array, labels: Array, weights: tuple[float, ...]) -> Terms:
    # A row of zeros where the label is no class.
    truth = nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    log_probabilities = nn.log_softmax(logits)
    counted = truth * _last_axis(weights, logits) if weights else truth
    cross_entropy = -jnp.sum(counted * log_probabilities) / _or_one(jnp.sum(counted))
    known = jnp.sum(truth, axis=-1, keepdims=True)
    return cross_entropy, jnp.exp(log_probabilities) * known, truth


def _region_terms(logits: Array, labels: Array, masks: Array, weights: tuple[float, ...]) -> Terms:
    known = (labels != IGNORED)[..., None].astype(logits.dtype)
    counted = jnp.broadcast_to(known, logits.shape)
    if weights:
        counted = counted * _last_axis(weights, logits)
    each = optax.sigmoid_binary_cross_entropy(logits, masks)
    cross_entropy = jnp.sum(counted * each) / _or_one(jnp.sum(counted))
    return cross_entropy, nn.sigmoid(logits) * known, masks


def _last_axis(weights: tuple[float, ...], like: Array) -> Array:
    return jnp.asarray(weights, like.dtype).reshape(1, 1, 1, 1, len(weights))


def _or_one(total: Array) -> Array:
    """To divide by: where nothing is labelled, the sum above the line is 0."""
    return jnp.where(total > 0, total, 1.0)
