"""Scores a network on cached cases."""

from collections.abc import Sequence

import numpy as np

from invseg_jax.data.cache import CachedCase
from invseg_jax.evaluation.metrics import confusion, dice_from_confusion, nan_mean
from invseg_jax.inference.network import Network


def mean_dice(
    network: Network, cases: Sequence[CachedCase], classes: Sequence[str]
) -> dict[str, float]:
    """Mean Dice over cases for each foreground class or region, by name, and their mean.

    Scored on the network's grid, as a guide during training; `evaluate` scores on the files' own.

    Args:
        network: segments the whole volume of each case; where it segments regions, they are scored.
        cases: with label maps.
        classes: names, the background first.
    """
    regions, scores = network.regions, []
    for case in cases:
        probabilities = network.probabilities(np.asarray(case.image))
        found = regions.decide(probabilities) if regions else probabilities.argmax(axis=-1)
        counts = confusion(found, np.asarray(case.label), len(classes))
        scores.append(dice_from_confusion(counts, regions.members if regions else None))
    means = nan_mean(np.stack(scores), axis=0)
    names = regions.names if regions else classes[1:]
    return dict(zip(names, means.tolist(), strict=True)) | {"mean": float(nan_mean(means))}
