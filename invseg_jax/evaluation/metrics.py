"""Overlap between a predicted and a true label map, and means that know of absent classes."""

from collections.abc import Sequence

import numpy as np

from invseg_jax.data.layouts.case import IGNORED

# The joint histogram needs 8 bytes a voxel, so a large volume goes through it in parts.
_PART = 1 << 22


def confusion(prediction: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Joint histogram of two label maps.

    Args:
        prediction: Integer label map of any shape, values 0 .. classes - 1.
        truth: Integer label map of the same shape; voxels that are `IGNORED` do not count.
        classes: Number of classes, background included.

    Returns:
        int64 array (classes, classes); entry (t, p) counts the voxels of true class t that were
        predicted as class p.

    Raises:
        ValueError: The shapes differ, an array is not of integers, or a value is no class.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    known = truth != IGNORED
    if not known.all():
        prediction, truth = prediction[known], truth[known]
    for name, labels in (("prediction", prediction), ("truth", truth)):
        if labels.dtype.kind not in "iub":
            raise ValueError(f"{name} must hold class indices, not {labels.dtype}")
        if labels.size and (labels.min() < 0 or labels.max() >= classes):
            raise ValueError(
                f"{name} holds values {labels.min()} to {labels.max()}, "
                f"but the classes are 0 to {classes - 1}"
            )
    counts = np.zeros(classes * classes, np.int64)
    flat_prediction, flat_truth = prediction.reshape(-1), truth.reshape(-1)
    for start in range(0, flat_truth.size, _PART):
        part = slice(start, start + _PART)
        joint = flat_truth[part].astype(np.int64) * classes + flat_prediction[part]
        counts += np.bincount(joint, minlength=classes * classes)
    return counts.reshape(classes, classes)


def dice_from_confusion(
    counts: np.ndarray, regions: Sequence[Sequence[int]] | None = None
) -> np.ndarray:
    """Dice of each foreground class or region; see `dice` for the rule on empty ones.

    Args:
        counts: Joint histogram (classes, classes) from `confusion`.
        regions: The classes that each region is made of; None for each foreground class by itself.

    Returns:
        float64 array (classes - 1,) or (regions,).
    """
    sets = [[k] for k in range(1, len(counts))] if regions is None else map(list, regions)
    score = []
    for members in sets:
        truth, prediction = counts[members], counts[:, members]
        volumes = truth.sum() + prediction.sum()
        score.append(2.0 * truth[:, members].sum() / volumes if volumes else np.nan)
    return np.array(score, np.float64)


def dice(prediction: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Dice coefficient 2 |P and T| / (|P| + |T|) of each foreground class (Dice 1945).

    **The empty class**: one that is in neither map has no overlap to speak of: its Dice is NaN, and
    `nan_mean` leaves it out, as nnU-Net does. One that is in one map only scores 0. The same holds
    for regions. BraTS counts otherwise: there, a case without enhancing tumour, and without a voxel
    predicted as such, scores 1, and its means are higher for it.

    Args:
        prediction: Integer label map of any shape, values 0 .. classes - 1.
        truth: Integer label map of the same shape.
        classes: Number of classes, background included.

    Returns:
        float64 array (classes - 1,), for the classes 1 .. classes - 1.

    Raises:
        ValueError: The shapes differ, an array is not of integers, or a value is no class.
    """
    return dice_from_confusion(confusion(prediction, truth, classes))


def iou_from_dice(dice: np.ndarray) -> np.ndarray:
    """Intersection over union (Jaccard index) |P and T| / |P or T| = D / (2 - D), NaN where D is.

    Of one case each; a mean of it is not that of the mean Dice.
    """
    return dice / (2.0 - dice)


def nan_mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean without the NaN entries; NaN, and no warning, where nothing is left."""
    values = np.asarray(values, np.float64)
    count = np.sum(~np.isnan(values), axis=axis)
    mean = np.full(np.shape(count), np.nan)
    return np.divide(np.nansum(values, axis=axis), count, out=mean, where=count > 0)


def nan_std(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Sample standard deviation (divisor n - 1) without NaN entries; NaN for fewer than two."""
    values = np.asarray(values, np.float64)
    count = np.sum(~np.isnan(values), axis=axis)
    centred = values - np.expand_dims(nan_mean(values, axis), axis)
    variance = np.full(np.shape(count), np.nan)
    np.divide(np.nansum(centred**2, axis=axis), count - 1, out=variance, where=count > 1)
    return np.sqrt(variance)
