"""Five small cases, and a folder with two checkpoints."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.data.prepare.cache import CachedCase
from invseg_jax.runs.checkpoints import Checkpoints
from tests.runs.small_checkpoints import new_batches, some_state


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
