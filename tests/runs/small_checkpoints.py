"""States of a few numbers, and data for them: what tests of checkpoints share."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invseg_jax.data.batches.pipeline import training_batches
from invseg_jax.data.prepare.cache import CachedCase
from invseg_jax.experiment import DataSettings, OptimiserSettings
from invseg_jax.runs.train_state import TrainState
from invseg_jax.training.optimiser import first_state, make_optimiser

OPTIMISER = make_optimiser(OptimiserSettings(), 10)


def some_params(features: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "conv": {"kernel": jnp.asarray(rng.normal(size=(3, 3, 3, 1, features)), jnp.float32)},
        # NaN, infinities, -0 and a denormal number come back as they were.
        "odd": jnp.asarray([np.nan, np.inf, -np.inf, -0.0, 1e-42], jnp.float32),
        "half": jnp.asarray(rng.normal(size=7), jnp.bfloat16),
    }


def some_state(features: int = 4, seed: int = 5) -> TrainState:
    return first_state(some_params(features), OPTIMISER, seed)


def new_batches(cases: list[CachedCase], threads: int = 0) -> Any:
    settings = DataSettings(patch=(4, 4, 4), batch=2, foreground=0.0, threads=threads)
    return training_batches(cases, settings, seed=1)


def assert_same_bits(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert left.dtype == right.dtype
        if jnp.issubdtype(left.dtype, jax.dtypes.prng_key):
            left, right = jax.random.key_data(left), jax.random.key_data(right)
        assert left.shape == right.shape
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
