"""The same augmentation as one would write it for the host, with NumPy and SciPy.

What `benchmark pipeline` compares with. A transform that is not drawn costs nothing here.
"""

import math
from functools import partial

import numpy as np
from numpy.polynomial.legendre import leggrid3d
from scipy import ndimage
from scipy.spatial.transform import Rotation

from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.experiment import Augmentation

Sample = tuple[np.ndarray, np.ndarray]


def augment_on_host(
    rng: np.random.Generator, image: np.ndarray, label: np.ndarray, settings: Augmentation
) -> Sample:
    """Augments a batch, one sample after the other, with the probabilities of the device's.

    Args:
        rng: source of randomness.
        image: (n, D, H, W, C) float32.
        label: (n, D, H, W) int32.
        settings: what is done.

    Returns:
        New arrays of the same shapes and dtypes.
    """
    samples = [_augmented(rng, *sample, settings) for sample in zip(image, label, strict=True)]
    images, labels = zip(*samples, strict=True)
    return np.stack(images), np.stack(labels)


def _augmented(rng, image: np.ndarray, label: np.ndarray, settings: Augmentation) -> Sample:
    for axis, probability in enumerate(settings.flip_probabilities):
        if rng.random() < probability:
            image, label = np.flip(image, axis), np.flip(label, axis)
    rotated = rng.random() < settings.affine_probability
    deformed = rng.random() < settings.elastic_probability
    if rotated or deformed:
        where = _coordinates(rng, label.shape, settings, rotated, deformed)
        fetched = partial(ndimage.map_coordinates, coordinates=where, mode="constant")
        image = np.stack([fetched(channel, order=1) for channel in np.moveaxis(image, -1, 0)], -1)
        label = fetched(label, order=0, cval=IGNORED if (label == IGNORED).any() else 0)
    image, body = image.copy(), image != 0
    for name, change in _CHANGES.items():
        if rng.random() < getattr(settings, f"{name}_probability"):
            for channel in range(image.shape[-1]):
                inside = body[..., channel]
                if inside.any():
                    strength = rng.uniform(*getattr(settings, name))
                    changed = change(rng, image[..., channel], inside, strength)
                    image[..., channel][inside] = changed[inside]
    return image, np.ascontiguousarray(label)


def _coordinates(rng, shape, settings: Augmentation, rotated: bool, deformed: bool) -> np.ndarray:
    """Where each voxel comes from, (3, D, H, W)."""
    centre = (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    offset = np.indices(shape, np.float64) - centre
    if deformed:
        coarse = [max(math.ceil((n - 1) / settings.elastic_grid), 1) + 1 for n in shape]
        # In control points, the grid symmetric about the patch's centre.
        middle = (np.array(coarse).reshape(3, 1, 1, 1) - 1) / 2
        places = offset / settings.elastic_grid + middle
        drawn = rng.normal(0, settings.elastic, (3, *coarse))
        offset += [ndimage.map_coordinates(c, places, order=3, mode="mirror") for c in drawn]
    if rotated:
        angles = rng.uniform(-settings.rotation, settings.rotation, 3)
        rotation = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix()
        variation = math.log1p(settings.stretch)
        scale = np.exp(rng.uniform(*np.log(settings.scale)) + rng.uniform(-variation, variation, 3))
        in_mm = np.array(settings.voxel_size)
        matrix = rotation * in_mm[None, :] / in_mm[:, None] / scale[None, :]
        offset = np.einsum("ab,bdhw->adhw", matrix, offset)
    return offset + centre


def _noise(rng, image, inside, deviation):
    return image + rng.normal(0, deviation, image.shape)


def _blur(rng, image, inside, deviation):
    return ndimage.gaussian_filter(image, deviation)


def _brightness(rng, image, inside, factor):
    return image * factor


def _bias_field(rng, image, inside, greatest):
    coefficients = rng.normal(size=(4, 4, 4))
    degree = np.indices(coefficients.shape).sum(axis=0)
    coefficients[(degree == 0) | (degree > 3)] = 0
    depth, height, width = (np.linspace(-1, 1, n) for n in image.shape)
    polynomial = leggrid3d(depth, height, width, coefficients)
    return image * np.exp(math.log(greatest) * polynomial / np.abs(polynomial).max())


def _contrast(rng, image, inside, factor):
    values = image[inside]
    mean = values.mean()
    return np.clip((image - mean) * factor + mean, values.min(), values.max())


def _low_resolution(rng, image, inside, zoom):
    kept = np.maximum(np.round(zoom * np.array(image.shape)), 1)
    coarse = ndimage.zoom(image, kept / image.shape, order=0, mode="nearest", grid_mode=True)
    back = np.array(image.shape) / coarse.shape
    return ndimage.zoom(coarse, back, order=1, mode="nearest", grid_mode=True)


def _gamma(rng, image, inside, exponent):
    values = image[inside]
    extent = max(np.ptp(values), 1e-7)
    curved = np.clip((image - values.min()) / extent, 0, 1) ** exponent
    new = curved[inside]
    return (curved - new.mean()) / max(new.std(), 1e-7) * values.std() + values.mean()


# In the device's order, with the names of the settings.
_CHANGES = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "bias_field": _bias_field,
    "contrast": _contrast,
    "low_resolution": _low_resolution,
    "gamma": _gamma,
}
