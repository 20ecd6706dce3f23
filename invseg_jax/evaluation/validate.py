"""Scores a network on cached cases."""

from collections.abc import Sequence

import numpy as np

from invseg_jax.data.cache import CachedCase
from invseg_jax.evaluation.metrics import dice, nan_mean
from invseg_jax.inference.network import Network


def mean_dice(
    network: Network, cases: Sequence[CachedCase], classes: Sequence[str]
) -> dict[str, float]:
    """Mean Dice over cases for each foreground class, by name, and their mean.

    Scored on the network's grid, as a guide during training; `evaluate` scores on the files' own.

    Args:
        network: segments the whole volume of each case.
        cases: with label maps.
        classes: names, the background first.
    """
    scores = []
    for case in cases:
        prediction = network.probabilities(np.asarray(case.image)).argmax(axis=-1)
        scores.append(dice(prediction, np.asarray(case.label), len(classes)))
    means = nan_mean(np.stack(scores), axis=0)
    return dict(zip(classes[1:], means.tolist(), strict=True)) | {"mean": float(nan_mean(means))}
