"""The host's transforms and the device's, at fixed strengths, do the same."""

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from invseg_jax.benchmarks.host_augmentation import augment_on_host
from invseg_jax.data.augment import augment
from invseg_jax.experiment import Augmentation

OFF = Augmentation.off()
ALWAYS: dict[str, Any] = {
    field.name: 1.0 for field in dataclasses.fields(OFF) if field.name.endswith("_probability")
}


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 9, 12, 7, 2)).astype(np.float32)
    label = rng.integers(0, 4, image.shape[:4]).astype(np.int32)
    image[:, :2], label[:, :2] = 0, 0
    return {"image": image, "label": label}


def on_host(batch: dict[str, np.ndarray], what: Augmentation) -> tuple[np.ndarray, np.ndarray]:
    return augment_on_host(np.random.default_rng(1), batch["image"], batch["label"], what)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"flip": (1, 0, 1)},
        {"affine_probability": 1, "rotation": 0, "stretch": 0, "scale": (1.3, 1.3)},
        {"brightness_probability": 1, "brightness": (1.2, 1.2)},
        {"contrast_probability": 1, "contrast": (0.8, 0.8)},
        {"gamma_probability": 1, "gamma": (1.4, 1.4)},
        {"low_resolution_probability": 1, "low_resolution": (0.6, 0.6)},
        {"blur_probability": 1, "blur": (0.7, 0.7)},
    ],
    ids=lambda settings: " ".join(settings) or "nothing",
)
def test_both_do_the_same(batch, settings):
    what = dataclasses.replace(OFF, **settings)
    image, label = on_host(batch, what)
    device = jax.jit(partial(augment, settings=what))(jax.random.key(0), **batch)
    # SciPy cuts its Gaussian off at four standard deviations.
    np.testing.assert_allclose(image, device[0], atol=2e-3 if "blur" in settings else 1e-4)
    np.testing.assert_array_equal(label, device[1])
    changed = bool(settings)
    assert np.array_equal(image, batch["image"]) is not changed


def test_all_of_it(batch):
    what = dataclasses.replace(OFF, **ALWAYS, elastic_grid=6.0, elastic=1.0, flip=(0.5, 0.5, 0.5))
    image, label = on_host(batch, what)
    assert image.shape == batch["image"].shape and image.dtype == np.float32
    assert label.shape == batch["label"].shape and label.dtype == np.int32
    assert np.isfinite(image).all() and set(np.unique(label)) <= {0, 1, 2, 3}
    assert not np.array_equal(image[0], image[1])


def test_the_bias_field_is_bounded_and_noise_has_its_strength(batch):
    body = batch["image"] != 0
    what = dataclasses.replace(OFF, bias_field_probability=1, bias_field=(1.5, 1.5))
    image, _ = on_host(batch, what)
    factor = image[body] / batch["image"][body]
    assert factor.min() >= 1 / 1.501 and factor.max() <= 1.501 and factor.std() > 0.05
    what = dataclasses.replace(OFF, noise_probability=1, noise=(0.3, 0.3))
    image, _ = on_host(batch, what)
    assert abs((image - batch["image"])[body].std() - 0.3) < 0.03
    np.testing.assert_array_equal(image[~body], 0)
