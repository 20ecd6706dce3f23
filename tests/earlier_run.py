"""A run by a version whose trunks numbered their layers; tests/fixtures/make_odd_run.py made it."""

import zipfile
from pathlib import Path

import numpy as np

from invseg_jax.experiment import Experiment
from tests.tiny_run import tiny_config

FILE = Path(__file__).parent / "fixtures" / "earlier_run.zip"


def config() -> Experiment:
    """Odd and even channels, whose couplings are a chain and a loop; and an auxiliary head."""
    odd = {"model.settings.channels": (5, 8), "model.settings.couplings": 2}
    # What that version did: voxels counted as cubes of 1 mm, and a warm-up of half the steps.
    as_then = {"augment.spacing": (1.0, 1.0, 1.0), "optimiser.warmup": 2}
    return tiny_config().changed(odd | as_then)


def unpack(folder: Path) -> tuple[Path, dict[str, np.ndarray], np.ndarray]:
    """The run's folder, the parameters after 4 steps, and the label map after 2 steps.

    Args:
        folder: receives the files.
    """
    with zipfile.ZipFile(FILE) as packed:
        packed.extractall(folder)
    with np.load(folder / "after.npz") as after:
        return folder / "run", dict(after), np.load(folder / "predicted.npy")
