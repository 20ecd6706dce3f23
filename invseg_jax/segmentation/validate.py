"""Scores a network on cached cases, as a guide during its training."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from invseg_jax.data.batches.crops import centred_start, crop
from invseg_jax.data.prepare.cache import CachedCase
from invseg_jax.errors import UserError
from invseg_jax.evaluation.metrics import confusion, dice_from_confusion, nan_mean
from invseg_jax.experiment import BranchSettings
from invseg_jax.inference.network import Network
from invseg_jax.training.reconstruction import with_reconstruction


def mean_dice(
    network: Network, cases: Sequence[CachedCase], classes: Sequence[str]
) -> dict[str, float]:
    """Mean Dice over cases for each foreground class or region, by name, and their mean.

    Scored on the network's grid; `evaluate` scores on the files' own.

    Args:
        network: segments the whole volume of each case; where it segments regions, they are scored.
        cases: with label maps.
        classes: names, the background first.

    Raises:
        UserError: the network gives no numbers for a case.
    """
    regions, scores = network.regions, []
    for case in cases:
        try:
            probabilities = network.probabilities(np.asarray(case.image))
        except UserError as error:
            raise UserError(f"held-out case {case.id}: {error}") from error
        found = regions.decide(probabilities) if regions else probabilities.argmax(axis=-1)
        counts = confusion(found, np.asarray(case.label), len(classes))
        scores.append(dice_from_confusion(counts, regions.members if regions else None))
    means = nan_mean(np.stack(scores), axis=0)
    names = regions.names if regions else classes[1:]
    return dict(zip(names, means.tolist(), strict=True)) | {"mean": float(nan_mean(means))}


def mean_reconstruction(network: Network, cases: Sequence[CachedCase]) -> dict[str, float]:
    """What the VAE branch makes of the middle of each case: the training's terms, without weights.

    They are taken as in training, but of images that are not augmented; the random numbers of a
    case (of the latent draw, and of dropout where there is any) are the same at every call.

    Args:
        network: with the branch, or without.
        cases: at least one; of each the central patch is read.

    Returns:
        Mean over cases of `reconstruction`, the mean squared error in units of the normalised
        intensities, and of `kl`, see `kl_divergence`; nothing where the network has no branch.
    """
    if "vae" not in network.params:
        return {}
    terms = []
    for number, case in enumerate(cases):
        start = centred_start([size // 2 for size in case.shape], case.shape, network.patch)
        image = crop(case.image, start, network.patch)[None]
        terms.append(_reconstruction(network.graph, network.params, image, number))
    return {name: float(np.mean([each[name] for each in terms])) for name in terms[0]}


@partial(jax.jit, static_argnums=0)
def _reconstruction(
    graph: nnx.GraphDef, params: nnx.State, image: jax.Array, number: jax.Array
) -> dict[str, jax.Array]:
    """The terms of an image (1, d, h, w, modalities), the case of this number."""
    key = jax.random.fold_in(jax.random.key(0), number)
    outputs = nnx.merge(graph, params).outputs(image, key)
    return with_reconstruction(jnp.zeros(()), outputs.vae, image, BranchSettings())[1]
