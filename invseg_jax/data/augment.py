"""Data augmentation of a batch, in pure JAX, inside the compiled training step.

The transforms and their default ranges follow nnU-Net (Isensee et al., Nature Methods 2021,
supplementary note 4): mirroring, rotation and scale, noise, brightness, contrast, gamma. Rotation
and scale are joined into one matrix, so that the image is interpolated once.

Background stays background. `z_score` leaves voxels outside of the skull-stripped head, and
cropping leaves the padding, at exactly 0; at prediction the network meets exact zeros there again.
Noise, contrast and gamma therefore change only voxels that are not 0, and take their statistics
from these alone (nnU-Net reaches the same by masking after its transforms). Images without a
background of exact zeros are changed everywhere.
"""

import math
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from invseg_jax.data.affine import affine_matrix, resample_affine
from invseg_jax.errors import UserError

_SMALLEST_RANGE = 1e-7


@dataclass(frozen=True)
class Augmentation:
    """What is done how often and how strongly; hashable, a static argument of `jax.jit`.

    A transform whose probability is 0, or whose range is the identity, is not compiled at all.

    Attributes:
        flip: probability of mirroring each axis (depth, height, width).
        affine_probability: probability of the affine map: rotation, scale and stretch together.
        rotation: greatest angle about each of the three axes, in degrees.
        scale: magnification (low, high), drawn log-uniformly; 1.2 shows things 1.2 times as large.
        stretch: greatest relative change of one axis on top of `scale`; 0 keeps it isotropic.
        spacing: voxel size of the axes in mm; the rotation acts in mm, not in voxels.
        noise_probability: probability of additive Gaussian noise.
        noise: range of the noise's standard deviation, in the image's (z-scored) units.
        brightness_probability: probability of multiplying the image by a factor.
        brightness: range of the factor.
        contrast_probability: probability of scaling about the mean, clipped to the old extremes.
        contrast: range of the factor.
        gamma_probability: probability of a gamma curve, which keeps mean and standard deviation.
        gamma: range of the exponent.

    Raises:
        UserError: a probability outside of [0, 1], or a range that is reversed or not allowed.
    """

    flip: tuple[float, float, float] = (0.5, 0.5, 0.5)
    affine_probability: float = 0.3
    rotation: float = 30.0
    scale: tuple[float, float] = (0.7, 1.4)
    stretch: float = 0.05
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise_probability: float = 0.1
    noise: tuple[float, float] = (0.0, 0.1)
    brightness_probability: float = 0.15
    brightness: tuple[float, float] = (0.75, 1.25)
    contrast_probability: float = 0.15
    contrast: tuple[float, float] = (0.75, 1.25)
    gamma_probability: float = 0.3
    gamma: tuple[float, float] = (0.7, 1.5)

    def __post_init__(self):
        """Turns lists, as configuration files give them, into tuples, and checks the ranges."""
        for field in fields(self):
            value = _checked(field.name, getattr(self, field.name), field.default)
            object.__setattr__(self, field.name, value)

    @classmethod
    def off(cls) -> "Augmentation":
        """Settings under which `augment` returns its input."""
        never: dict[str, Any] = {
            f.name: 0.0 for f in fields(cls) if f.name.endswith("_probability")
        }
        return cls(flip=(0.0, 0.0, 0.0), **never)

    @property
    def resamples(self) -> bool:
        """Whether an affine map other than the identity can be drawn."""
        moves = self.rotation > 0 or self.stretch > 0 or self.scale != (1.0, 1.0)
        return self.affine_probability > 0 and moves


def augment(
    key: jax.Array, image: jax.Array, label: jax.Array, *, settings: Augmentation
) -> tuple[jax.Array, jax.Array]:
    """Augments each sample of a batch on its own; image and label move together.

    Every sample has its own key by `jax.random.split`. All is batched by `jax.vmap`, so a batch
    that is sharded over devices stays where it is.

    Args:
        key: typed PRNG key; the same key gives the same result.
        image: (batch, depth, height, width, channels) float32, z-scored.
        label: (batch, depth, height, width) int32 class indices, 0 = background.
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
        scalar_key, noise_key = jax.random.split(sample_key)
        draws = _Draws(scalar_key, _SCALARS + _SCALARS_PER_CHANNEL * image.shape[-1])
        # Mirrored first, which is the same in law: at the end XLA would fuse what comes before into
        # every branch of the flips and compute it eight times.
        image, label = _flip(draws, image, label, settings)
        matrix = _random_matrix(draws, settings)
        if settings.resamples:
            image, label = resample_affine(image, label, matrix)
        return _change_intensities(draws, noise_key, image, settings), label

    return jax.vmap(one_sample)(jax.random.split(key, image.shape[0]), image, label)


class _Draws:
    """Uniform random numbers handed out from one vector: each further draw is slow to compile."""

    def __init__(self, key: jax.Array, count: int):
        self._numbers = jax.random.uniform(key, (count,), jnp.float32)
        self._next = 0

    def uniform(self, count: int, low: float, high: float) -> jax.Array:
        """The next (count,) numbers, in [low, high)."""
        numbers = self._numbers[self._next : self._next + count]
        assert numbers.size == count, "a transform draws more than was counted"
        self._next += count
        return low + numbers * (high - low)

    def happens(self, probability: float) -> jax.Array:
        """The next yes or no, a bool scalar."""
        return self.uniform(1, 0.0, 1.0)[0] < probability


# Flips 3, affine 1 + 3 angles + 1 scale + 3 stretches, whether each of 4 intensity changes is made.
_SCALARS = 3 + 8 + 4
_SCALARS_PER_CHANNEL = 4


def _flip(draws: _Draws, image: jax.Array, label: jax.Array, settings: Augmentation):
    for axis, probability in enumerate(settings.flip):
        flipped = draws.happens(probability)
        if probability > 0:
            image = jnp.where(flipped, jnp.flip(image, axis), image)
            label = jnp.where(flipped, jnp.flip(label, axis), label)
    return image, label


def _random_matrix(draws: _Draws, settings: Augmentation) -> jax.Array:
    """A random affine matrix (3, 3), with `1 - affine_probability` the identity."""
    chosen = draws.happens(settings.affine_probability)
    greatest = math.radians(settings.rotation)
    low, high = (math.log(s) for s in settings.scale)
    variation = math.log1p(settings.stretch)
    angles = draws.uniform(3, -greatest, greatest)
    log_scale = draws.uniform(1, low, high) + draws.uniform(3, -variation, variation)
    matrix = affine_matrix(angles, jnp.exp(log_scale), settings.spacing)
    return jnp.where(chosen, matrix, jnp.eye(3, dtype=jnp.float32))


def _change_intensities(
    draws: _Draws, noise_key: jax.Array, image: jax.Array, settings: Augmentation
) -> jax.Array:
    """Noise, brightness, contrast, gamma on the non-zero voxels of one (D, H, W, C) patch.

    Whether a transform is applied is drawn for the patch, its strength for each channel.
    """
    steps = (
        (partial(_noise, noise_key), settings.noise_probability, settings.noise, 0.0),
        (_brightness, settings.brightness_probability, settings.brightness, 1.0),
        (_contrast, settings.contrast_probability, settings.contrast, 1.0),
        (_gamma, settings.gamma_probability, settings.gamma, 1.0),
    )
    body = image != 0
    for step, probability, (low, high), identity in steps:
        chosen = draws.happens(probability)
        strength = draws.uniform(image.shape[-1], low, high)[None, None, None, :]
        if probability > 0 and not low == high == identity:
            image = jnp.where(chosen & body, step(image, body, strength), image)
    return image


def _noise(key, image, body, deviation):
    del body
    return image + deviation * jax.random.normal(key, image.shape, jnp.float32)


def _brightness(image, body, factor):
    del body
    return image * factor


def _contrast(image, body, factor):
    mean, _ = _moments(image, body)
    low, high = _extremes(image, body)
    return jnp.clip((image - mean) * factor + mean, low, high)


def _gamma(image, body, exponent):
    """Raises intensities rescaled to [0, 1], so negative values are safe, to the exponent."""
    mean, deviation = _moments(image, body)
    low, high = _extremes(image, body)
    extent = high - low
    unit = jnp.clip((image - low) / jnp.maximum(extent, _SMALLEST_RANGE), 0.0, 1.0)
    curved = unit**exponent
    # The standardised curve does not depend on the old range, so it need not be scaled back to it.
    new_mean, new_deviation = _moments(curved, body)
    return (curved - new_mean) / jnp.maximum(new_deviation, _SMALLEST_RANGE) * deviation + mean


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


def _checked(name: str, value: Any, default: Any) -> Any:
    """`value` as a float, or as a tuple of as many floats as the default."""
    length = len(default) if isinstance(default, tuple) else 1
    try:
        numbers = [float(v) for v in (value if isinstance(default, tuple) else [value])]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != length or not all(map(math.isfinite, numbers)):
        wanted = "one finite number" if length == 1 else f"{length} finite numbers"
    elif min(numbers) < 0:
        wanted = "nothing below 0"
    elif max(numbers) > 1 and (name == "flip" or name.endswith("_probability")):
        wanted = "a probability between 0 and 1"
    elif min(numbers) == 0 and name in ("scale", "gamma", "spacing"):
        wanted = "numbers above 0"
    elif length == 2 and numbers[0] > numbers[1]:
        wanted = "the lower end first"
    else:
        return tuple(numbers) if isinstance(default, tuple) else numbers[0]
    raise UserError(f"augmentation.{name} = {value!r}: give {wanted}")
