"""What held-out cases show during training: one round with extreme points."""

import numpy as np

from invseg_jax.interactive.hand import Hand
from invseg_jax.interactive.method import Method, Volume
from invseg_jax.interactive.stack import Stack


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two bool arrays; 1 where both are empty."""
    total = np.count_nonzero(found) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(found & truth) / total if total else 1.0


def first_round(stack: Stack, method: Method) -> tuple[float, float]:
    """Extreme points on the slice in which the first object is largest, carried to all slices.

    Args:
        stack: a case that holds an object.
        method: segments, and carries.

    Returns:
        The Dice of that slice, and of the whole object.
    """
    kind = stack.objects[0]
    truth = np.asarray(stack.label) == kind
    index = int(np.argmax(stack.areas[kind - 1]))
    volume = Volume(np.asarray(stack.image), stack.spacing)
    points = Hand().extreme_points(truth[index], np.random.default_rng(0))
    probabilities = np.zeros(truth.shape, np.float32)
    probabilities[index] = method.segment(volume, index, [points], None)
    mask = probabilities[index] > 0.5
    others = [z for z in range(len(truth)) if z != index]
    for carried in method.carry(volume, {index: mask}, others, probabilities):
        probabilities[carried.index] = carried.probabilities
    return dice(mask, truth[index]), dice(probabilities > 0.5, truth)
