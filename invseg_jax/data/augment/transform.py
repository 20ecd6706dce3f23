"""The augmentation of a batch."""

import math

import jax
import jax.numpy as jnp

from invseg_jax.data.augment.affine import affine_matrix
from invseg_jax.data.augment.draws import Draws
from invseg_jax.data.augment.elastic import displacement
from invseg_jax.data.augment.intensity import CHANGES, change_intensities
from invseg_jax.data.augment.resample import resample, source_coordinates
from invseg_jax.experiment import Augmentation

# Flips 3, affine 1 + 3 angles + 1 scale + 3 stretches, deformation 1, whether each change is made.
_SCALARS = 3 + 8 + 1 + len(CHANGES)
_SCALARS_PER_CHANNEL = len(CHANGES)


def augment(
    key: jax.Array, image: jax.Array, label: jax.Array, *, settings: Augmentation
) -> tuple[jax.Array, jax.Array]:
    """Augments each sample of a batch on its own; image and label move together.

    Every sample has its own key by `jax.random.split`. All is batched by `jax.vmap`, so a batch
    that is sharded over devices stays where it is.

    Args:
        key: typed PRNG key; the same key gives the same result.
        image: (batch, depth, height, width, channels) float32, z-scored.
        label: (batch, depth, height, width) int32 class indices, 0 = background, or `IGNORED`. What
            comes in from outside of the patch is 0 in both, but see `resample`.
        settings: probabilities and strengths; static under `jax.jit`.

    Returns:
        Image and label of the same shapes and dtypes.

    Raises:
        ValueError: shapes that do not belong together, or other dtypes.
    """
    if image.ndim != 5 or label.shape != image.shape[:4]:
        raise ValueError(f"image (n,D,H,W,C), label (n,D,H,W), got {image.shape}, {label.shape}")
    if image.dtype != jnp.float32 or label.dtype != jnp.int32:
        raise ValueError(f"image float32 and label int32, got {image.dtype} and {label.dtype}")

    def one_sample(sample_key, image, label):
        scalars, elastic, intensity = jax.random.split(sample_key, 3)
        draws = Draws(scalars, _SCALARS + _SCALARS_PER_CHANNEL * image.shape[-1])
        image, label = _move(draws, elastic, image, label, settings)
        return change_intensities(draws, intensity, image, settings), label

    return jax.vmap(one_sample)(jax.random.split(key, image.shape[0]), image, label)


def _move(
    draws: Draws, key: jax.Array, image: jax.Array, label: jax.Array, settings: Augmentation
) -> tuple[jax.Array, jax.Array]:
    """Mirrors, maps and deforms one patch; moves it once."""
    flips = jnp.stack([draws.happens(probability) for probability in settings.flip_probabilities])
    matrix = _random_matrix(draws, settings)
    deformed = draws.happens(settings.elastic_probability)
    if not settings.resamples:
        return _flip(flips, image, label, settings)
    moved = None
    if settings.changes("elastic"):
        moved = displacement(key, label.shape, settings.elastic_grid, settings.elastic)
        moved = jnp.where(deformed, moved, 0.0)
    # The input is mirrored first, so the mirroring comes last on the way to a voxel's place in it.
    matrix = jnp.where(flips, -1.0, 1.0)[:, None] * matrix
    return resample(image, label, source_coordinates(matrix, moved, label.shape))


def _flip(flips: jax.Array, image: jax.Array, label: jax.Array, settings: Augmentation):
    for axis, probability in enumerate(settings.flip_probabilities):
        if probability > 0:
            image = jnp.where(flips[axis], jnp.flip(image, axis), image)
            label = jnp.where(flips[axis], jnp.flip(label, axis), label)
    return image, label


def _random_matrix(draws: Draws, settings: Augmentation) -> jax.Array:
    """A random affine matrix (3, 3), with `1 - affine_probability` the identity."""
    chosen = draws.happens(settings.affine_probability)
    greatest = math.radians(settings.rotation)
    low, high = (math.log(s) for s in settings.scale)
    variation = math.log1p(settings.stretch)
    angles = draws.uniform(3, -greatest, greatest)
    log_scale = draws.uniform(1, low, high) + draws.uniform(3, -variation, variation)
    matrix = affine_matrix(angles, jnp.exp(log_scale), settings.voxel_size)
    return jnp.where(chosen, matrix, jnp.eye(3, dtype=jnp.float32))
