"""The terms that a VAE branch adds to the loss (Myronenko 2018, section 2.4)."""

import math
from dataclasses import dataclass

import jax.numpy as jnp

from invseg_jax.configuration import Config
from invseg_jax.errors import UserError
from invseg_jax.models import VAEOutputs
from invseg_jax.reversible.layer import Array


@dataclass(frozen=True)
class ReconstructionWeights:
    """How much the terms count: the loss is L_segmentation + w_r L_reconstruction + w_kl L_KL.

    Attributes:
        reconstruction: w_r.
        kl: w_kl.

    Raises:
        UserError: one is negative or not finite.
    """

    reconstruction: float = 0.1
    kl: float = 0.1

    def __post_init__(self):
        """Checks the range."""
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise UserError(f"config.vae.{name} is {value}; give a number of at least 0")

    @classmethod
    def of(cls, config: Config) -> "ReconstructionWeights":
        """The weights of a configuration."""
        return cls(config.vae.reconstruction, config.vae.kl)


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
    loss: Array, vae: VAEOutputs | None, image: Array, weights: ReconstructionWeights
) -> tuple[Array, dict[str, Array]]:
    """Adds the branch's terms to the loss of the segmentation.

    Args:
        loss: a scalar.
        vae: what the branch made of the images; None where there is none.
        image: (n, d, h, w, modalities), as the network was given them.
        weights: of the terms.

    Returns:
        The loss, and the terms without their weights, by name; none without a branch.
    """
    if vae is None:
        return loss, {}
    error = mean_squared_error(vae.image, image)
    divergence = kl_divergence(vae.mean, vae.log_variance, math.prod(image.shape[1:4]))
    total = loss + weights.reconstruction * error + weights.kl * divergence
    return total, {"reconstruction": error, "kl": divergence}
