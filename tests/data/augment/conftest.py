"""Images with a background of zeros, and the augmentation of a batch of them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from invseg_jax.data.augment import augment
from invseg_jax.experiment import Augmentation

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def only() -> Callable[..., Augmentation]:
    """Settings under which nothing is done but what is given."""
    return functools.partial(dataclasses.replace, Augmentation.off())


@pytest.fixture(scope="session")
def everything() -> Augmentation:
    """Every transform, always."""
    names = [f.name for f in dataclasses.fields(Augmentation) if f.name.endswith("_probability")]
    always: dict[str, Any] = dict.fromkeys(names, 1.0)
    # Control points so near to each other that a small patch is deformed, not just shifted.
    return Augmentation(elastic=1.0, elastic_grid=4.0, **always)


@pytest.fixture(scope="session")
def head() -> Callable[..., Arrays]:
    """Images of a body in a background of exact zeros, of negative and positive values."""

    def make(n=2, shape=(10, 12, 9), channels=2, seed=0) -> Arrays:
        rng = np.random.default_rng(seed)
        image = rng.normal(size=(n, *shape, channels)).astype(np.float32)
        label = rng.integers(0, 4, (n, *shape)).astype(np.int32)
        if shape[0] > 2:
            image[:, :2], label[:, :2] = 0, 0
        return image, label

    return make


@pytest.fixture(scope="session")
def run() -> Callable[..., Arrays]:
    """Augments a batch, compiled."""
    compiled = functools.partial(jax.jit, static_argnames="settings")(augment)

    def augmented(image, label, what: Augmentation, seed=0) -> Arrays:
        new_image, new_label = compiled(jax.random.key(seed), image, label, settings=what)
        return np.asarray(new_image), np.asarray(new_label)

    return augmented
