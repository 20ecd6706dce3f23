"""The terms that a VAE branch adds to the loss (Myronenko 2018, section 2.4)."""

import math

import jax.numpy as jnp

from invseg_jax.experiment import BranchSettings
from invseg_jax.models import VAEOutputs
from invseg_jax.reversible.layer import Array


def mean_squared_error(reconstructed: Array, image: Array) -> Array:
    """Mean over the batch, the voxels and the modalities of |I - I'|^2.

    Args:
        reconstructed: I', (n, d, h, w, modalities).
        image: I, the same.
    """
    return jnp.mean(jnp.square(reconstructed - image))


def kl_divergence(mean: Array, log_variance: Array, voxels: int) -> Array:
    """Twice the divergence of N(mean, variance) from N(0, 1) by the voxel, as in the paper.

        L_KL = 1/N sum(mean^2 + variance - log variance - 1)

    Args:
        mean: (n, latent).
        log_variance: (n, latent).
        voxels: N, of one image.

    Returns:
        Its mean over the batch, a scalar.
    """
    terms = jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1.0
    return jnp.mean(jnp.sum(terms, axis=-1)) / voxels


def with_reconstruction(
    loss: Array, vae: VAEOutputs | None, image: Array, settings: BranchSettings
) -> tuple[Array, dict[str, Array]]:
    """Adds the branch's terms to the loss of the segmentation.

    Args:
        loss: a scalar.
        vae: what the branch made of the images; None where there is none.
        image: (n, d, h, w, modalities), as the network was given them.
        settings: with the weights of the terms.

    Returns:
        The loss, and the terms without their weights, by name; none without a branch.
    """
    if vae is None:
        return loss, {}
    error = mean_squared_error(vae.image, image)
    divergence = kl_divergence(vae.mean, vae.log_variance, math.prod(image.shape[1:4]))
    total = loss + settings.reconstruction * error + settings.kl * divergence
    return total, {"reconstruction": error, "kl": divergence}
