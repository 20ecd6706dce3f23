"""A batch, a network so small that the step around it can be followed by hand, and checkpoints."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.data.prepare.cache import CachedCase
from invseg_jax.models import Outputs
from invseg_jax.runs.checkpoints import Checkpoints
from tests.training.small_checkpoints import new_batches, some_state

CLASSES = 3


class Pointwise(nnx.Module):
    """Multinomial regression on each voxel's intensity, with noise if asked for."""

    def __init__(self, noise: float = 0.0):
        self.noise = noise
        self.weight = nnx.Param(jnp.asarray([[-1.0, 0.1, 1.0]]))
        self.bias = nnx.Param(jnp.zeros(CLASSES))

    def outputs(self, x: jax.Array, key: jax.Array) -> Outputs:
        logits = x @ self.weight[...] + self.bias[...].reshape(1, 1, 1, 1, CLASSES)
        if self.noise:
            logits += self.noise * jax.random.normal(key, logits.shape)
        return Outputs(logits)


@pytest.fixture(scope="session")
def pointwise() -> type[Pointwise]:
    return Pointwise


@pytest.fixture(scope="session")
def batch() -> dict[str, np.ndarray]:
    """Two patches in which a class can be told by its intensity."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, (2, 8, 8, 8)).astype(np.int32)
    image = (label - 1.0)[..., None] + rng.normal(0, 0.3, (*label.shape, 1))
    return {"image": image.astype(np.float32), "label": label}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[CachedCase]:
    rng, made = np.random.default_rng(0), []
    for number in range(5):
        folder = tmp_path_factory.mktemp("case")
        np.save(folder / "image.npy", rng.normal(size=(6, 5, 4, 1)).astype(np.float32))
        np.save(folder / "label.npy", np.zeros((6, 5, 4), np.uint8))
        made.append(CachedCase(f"case-{number}", folder, (6, 5, 4), 2))
    return made


@pytest.fixture(scope="module")
def written(cases, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps 4 and 7, of which 7 has another state; copied by those who break it."""
    folder = tmp_path_factory.mktemp("written") / "checkpoints"
    batches = new_batches(cases)
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(4, some_state(), batches)
        next(batches)
        checkpoints.save(7, replace(some_state(), step=jnp.asarray(7, jnp.int32)), batches)
    return folder


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "checkpoints")
