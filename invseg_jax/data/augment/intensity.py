"""Changes of intensity on the non-zero voxels of one patch."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from invseg_jax.data.augment.bias_field import bias_field
from invseg_jax.data.augment.coarsening import blur_matrix, low_resolution_matrix
from invseg_jax.data.augment.draws import Draws
from invseg_jax.data.augment.separable import along_axes
from invseg_jax.experiment import Augmentation

_SMALLEST_RANGE = 1e-7


class _Patch(NamedTuple):
    """What a change starts from: (D, H, W, C) image, its non-zero voxels, a key, and a strength.

    The strength is (C,), one for each channel.
    """

    image: jax.Array
    body: jax.Array
    key: jax.Array
    strength: jax.Array

    @property
    def factor(self) -> jax.Array:
        """The strength, (1, 1, 1, C)."""
        return self.strength[None, None, None, :]


def change_intensities(
    draws: Draws, key: jax.Array, image: jax.Array, settings: Augmentation
) -> jax.Array:
    """Applies the changes of `CHANGES`, in their order, to the non-zero voxels of one patch.

    Whether a change is made is drawn for the patch, its strength for each channel.

    Args:
        draws: scalars; 1 + C for each change.
        key: for what needs more random numbers.
        image: (D, H, W, C) float32.
        settings: probabilities and ranges.

    Returns:
        The image, of the same shape.
    """
    body = image != 0
    keys = jax.random.split(key, len(CHANGES))
    for number, (name, change) in enumerate(CHANGES.items()):
        chosen = draws.happens(getattr(settings, f"{name}_probability"))
        strength = draws.uniform(image.shape[-1], *getattr(settings, name))
        if settings.changes(name):
            changed = change(_Patch(image, body, keys[number], strength))
            image = jnp.where(chosen & body, changed, image)
    return image


def _noise(patch: _Patch) -> jax.Array:
    noise = jax.random.normal(patch.key, patch.image.shape, jnp.float32)
    return patch.image + patch.factor * noise


def _blur(patch: _Patch) -> jax.Array:
    return _by_matrices(patch, blur_matrix)


def _low_resolution(patch: _Patch) -> jax.Array:
    return _by_matrices(patch, low_resolution_matrix)


def _by_matrices(patch: _Patch, matrix: Callable[[jax.Array, int], jax.Array]) -> jax.Array:
    """Applies matrix(strength, size) along each axis, to each channel with its own strength."""

    def one_channel(image, strength):
        matrices = [matrix(strength, size) for size in image.shape]
        return along_axes(matrices, image[..., None])[..., 0]

    return jax.vmap(one_channel, in_axes=(-1, 0), out_axes=-1)(patch.image, patch.strength)


def _brightness(patch: _Patch) -> jax.Array:
    return patch.image * patch.factor


def _bias_field(patch: _Patch) -> jax.Array:
    return patch.image * bias_field(patch.key, patch.image.shape[:3], patch.strength)


def _contrast(patch: _Patch) -> jax.Array:
    mean, _ = _moments(patch.image, patch.body)
    low, high = _extremes(patch.image, patch.body)
    return jnp.clip((patch.image - mean) * patch.factor + mean, low, high)


def _gamma(patch: _Patch) -> jax.Array:
    """Raises intensities rescaled to [0, 1], so negative values are safe, to the exponent."""
    mean, deviation = _moments(patch.image, patch.body)
    low, high = _extremes(patch.image, patch.body)
    extent = high - low
    unit = jnp.clip((patch.image - low) / jnp.maximum(extent, _SMALLEST_RANGE), 0.0, 1.0)
    curved = unit**patch.factor
    # The standardised curve does not depend on the old range, so it need not be scaled back to it.
    new_mean, new_deviation = _moments(curved, patch.body)
    return (curved - new_mean) / jnp.maximum(new_deviation, _SMALLEST_RANGE) * deviation + mean


# By the names that they have in the settings, in nnU-Net's order; that has no bias field.
CHANGES: dict[str, Callable[[_Patch], jax.Array]] = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "bias_field": _bias_field,
    "contrast": _contrast,
    "low_resolution": _low_resolution,
    "gamma": _gamma,
}


def _moments(image: jax.Array, body: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of each channel over `body`, (1, 1, 1, C); 0 if it is empty."""
    count = jnp.maximum(jnp.sum(body, axis=(0, 1, 2), keepdims=True).astype(jnp.float32), 1.0)
    mean = jnp.sum(jnp.where(body, image, 0.0), axis=(0, 1, 2), keepdims=True) / count
    square = jnp.where(body, (image - mean) ** 2, 0.0)
    return mean, jnp.sqrt(jnp.sum(square, axis=(0, 1, 2), keepdims=True) / count)


def _extremes(image: jax.Array, body: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Least and greatest value of each channel over `body`, (1, 1, 1, C); 0 if it is empty."""
    low = jnp.min(jnp.where(body, image, jnp.inf), axis=(0, 1, 2), keepdims=True)
    high = jnp.max(jnp.where(body, image, -jnp.inf), axis=(0, 1, 2), keepdims=True)
    empty = low > high
    return jnp.where(empty, 0.0, low), jnp.where(empty, 0.0, high)
