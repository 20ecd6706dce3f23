"""Strict JAX, two virtual devices, and the data that the tests share."""

import gc
import os

# Before JAX and matplotlib are imported: no test needs an accelerator or a screen.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest

from invseg_jax.devices import compilation_cache
from tests.compiling import compile_quickly
from tests.tiny_run import tiny_config, write_balls
from tests.trained import train

compile_quickly()
# Two devices show whether code takes `jax.devices()` for one. A test that needs more (a mesh)
# starts a process of its own, since the number is fixed once a backend is up.
jax.config.update("jax_num_cpu_devices", 2)
jax.devices()  # now: a training in this process would split the CPU as its batch asks for
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A first call compiles, so no example has a deadline.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Each compiled program holds memory mappings, of which Linux gives a process 65,530."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache of data for the whole run, away from what the user has cached.

    Compiled programs go there too, unless JAX_COMPILATION_CACHE_DIR says otherwise: what one test
    compiled, the next one reads.
    """
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INVSEG_CACHE", str(folder))
        compilation_cache.enable()
        yield folder


def _data_set(name: str, file: str) -> Path:
    """A folder of $INVSEG_DATA, or of shared/data beside the checkout."""
    data = os.environ.get("INVSEG_DATA") or REPOSITORY.parent / "shared" / "data"
    root = Path(data) / name
    if not (root / file).is_file():
        pytest.skip(f"the data set {name} is not there: no {root / file}")
    return root


@pytest.fixture(scope="session")
def hippocampus() -> Path:
    """MSD Task04."""
    return _data_set("msd_hippocampus", "dataset.json")


@pytest.fixture(scope="session")
def sarcoma() -> Path:
    """Soft-tissue sarcoma on MR and PET, a folder a subject; see configs/sarcoma.py."""
    return _data_set("sts_sarcoma", "STS_002/pet.nii.gz")


@pytest.fixture(scope="session")
def assert_close() -> Callable[..., None]:
    """Asserts that two pytrees agree: no error above `relative` times an array's largest value.

    Where an array is a few numbers that can all be small, `least` stands for its largest value.
    """

    def check(actual, expected, relative: float = 1e-5, least: float = 0.0) -> None:
        assert jax.tree.structure(actual) == jax.tree.structure(expected)
        wanted = jax.tree_util.tree_leaves_with_path(expected)
        for (path, want), got in zip(wanted, jax.tree.leaves(actual), strict=True):
            name = jax.tree_util.keystr(path)
            assert got.shape == want.shape and got.dtype == want.dtype, name
            want, got = np.asarray(want, np.float64), np.asarray(got, np.float64)
            error = np.abs(got - want).max(initial=0.0)
            # Written so that a NaN on either side fails.
            assert error <= relative * np.abs(want).max(initial=least), f"{name}: {error:.2e}"

    return check


@pytest.fixture(scope="session")
def check_layer(assert_close: Callable[..., None]) -> Callable[..., None]:
    """Asserts that an invertible layer's three functions fit each other.

    Its inverse undoes forward; its pullback gives the input, and the cotangents that `jax.vjp` of
    forward gives, for random cotangents of the output and of the taps. Values are of the order 1.
    """

    def check(layer, params, x, key=None) -> None:
        @jax.jit
        def forward(params, x):
            return layer.forward(params, x, key)

        @jax.jit
        def backward(params, x, y, cotangents):
            pulled = layer.pullback(params, y, *cotangents, key)
            _, transpose = jax.vjp(lambda params, x: layer.forward(params, x, key), params, x)
            return layer.inverse(params, y, key), pulled, transpose(cotangents)

        y, taps = forward(params, x)
        rng = np.random.default_rng(0)
        cotangents = jax.tree.map(
            lambda a: jax.numpy.asarray(rng.standard_normal(a.shape), a.dtype), (y, dict(taps))
        )
        inverse, pulled, (dparams, dx) = backward(params, x, y, cotangents)
        assert_close(inverse, x, least=1.0)
        assert_close(pulled, (x, dx, dparams), least=1.0)

    return check


@pytest.fixture(scope="session")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six balls."""
    root = tmp_path_factory.mktemp("balls")
    write_balls(root)
    return root


@pytest.fixture(scope="session")
def trained_run(balls: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps on them."""
    workdir = tmp_path_factory.mktemp("run") / "whole"
    train(tiny_config(), workdir, str(balls))
    return workdir
