"""What held-out cases show during training: one round with extreme points."""

import numpy as np

from invseg_jax.interactive.method import Method, SliceVolume
from invseg_jax.interactive.rounds import Annotation, play
from invseg_jax.interactive.scores import dice
from invseg_jax.interactive.stack import Stack


def first_round(stack: Stack, method: Method) -> tuple[float, float]:
    """Extreme points on the slice in which the first object is largest, carried to all slices.

    Args:
        stack: a case that holds an object.
        method: segments, and carries.

    Returns:
        The Dice of that slice, and of the whole object.
    """
    truth = np.asarray(stack.label) == stack.objects[0]
    start = Annotation.begin(SliceVolume(np.asarray(stack.image), stack.spacing), truth)
    (now,) = play(start, method, "extreme_points", "oracle", seed=0, rounds=1)
    ((index, mask),) = now.confirmed.items()
    return dice(mask, truth[index]), dice(now.found, truth)
