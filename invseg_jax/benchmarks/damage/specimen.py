"""The specimen of the drill: a small data set, its cache, and a run with two checkpoints."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from invseg_jax.benchmarks.cohort import write_cohort
from invseg_jax.data.batches.pipeline import training_batches
from invseg_jax.data.layouts import Dataset, open_dataset
from invseg_jax.data.prepare.cache import CaseCache
from invseg_jax.data.prepare.fingerprint import Fingerprint
from invseg_jax.devices import mesh
from invseg_jax.experiment import Experiment, base_experiment
from invseg_jax.inference.network import build_model
from invseg_jax.inference.trained_run import DataDescription, SegmentationRun
from invseg_jax.runs.checkpoints import Checkpoints
from invseg_jax.runs.train_state import TrainState
from invseg_jax.segmentation.objective import SegmentationObjective
from invseg_jax.training.program import TrainingProgram
from invseg_jax.training.task import Batches

DATA, CACHE, RUN = "data", "cache", "run"
STEPS = (1, 2)  # of the checkpoints
CASES, HELD_OUT = 4, 1
SETTINGS: dict[str, object] = {
    "model.settings.channels": (4, 8),
    "model.settings.couplings": 1,
    "data.patch": (8, 8, 8),
    "data.threads": 0,
    "devices": 1,
    "steps": 10,
    "optimiser.warmup": 5,
    "inference.batch": 1,
}


@dataclass(frozen=True)
class Specimen:
    """The undamaged originals.

    Attributes:
        folder: holds the folders `DATA`, `CACHE` and `RUN`; copies of the last two are damaged.
        experiment: of the run.
        dataset: in `DATA`.
        description: of the run's data.
        fingerprint: of the cases trained on.
        state: of the network, on the device, with the values of the last checkpoint.
    """

    folder: Path
    experiment: Experiment
    dataset: Dataset
    description: DataDescription
    fingerprint: Fingerprint
    state: TrainState

    def cache(self, folder: Path, say: Callable[[str], None] | None = None) -> CaseCache:
        """The data set's cache in a folder."""
        return CaseCache(self.dataset, self.experiment.data.preprocess, folder, say)

    def batches(self) -> Batches:
        """A new stream of training batches from the undamaged cache."""
        cases = self.cache(self.folder / CACHE).prepared(self.dataset.cases[HELD_OUT:])
        return training_batches(cases, self.experiment.data, seed=self.experiment.seed)


def make_specimen(folder: Path) -> Specimen:
    """Writes data set, cache and run. Random numbers stand for a trained network.

    Args:
        folder: an empty one.
    """
    experiment = base_experiment("FullInvRes").changed(SETTINGS)
    dataset = open_dataset("msd", write_cohort(folder / DATA, CASES, (9, 10, 8)))
    held_out, training = dataset.cases[:HELD_OUT], dataset.cases[HELD_OUT:]
    cache = CaseCache(dataset, experiment.data.preprocess, folder / CACHE)
    fingerprint = cache.fingerprint(training)
    description = DataDescription.of(
        experiment.data.layout,
        dataset,
        str(folder / DATA),
        cache.prepared(training),
        cache.prepared(held_out),
    )
    devices = mesh.make_mesh(experiment.devices, experiment.data.batch)
    model = build_model(experiment, len(dataset.modalities), len(dataset.classes))
    graph, params = nnx.split(model)
    objective = SegmentationObjective.build(experiment, graph, len(dataset.modalities))
    program = TrainingProgram.build(objective, params, experiment, experiment.optimiser, devices)
    state = program.first_state(params)
    run = SegmentationRun(folder / RUN)
    run.write(experiment, description, fingerprint)
    specimen = Specimen(folder, experiment, dataset, description, fingerprint, state)
    batches = specimen.batches()
    with Checkpoints(run.checkpoints, keep=len(STEPS)) as checkpoints:
        for step in STEPS:
            next(batches)
            state = _drawn(state, step)
            checkpoints.save(step, state, batches)
            checkpoints.wait()
    return Specimen(folder, experiment, dataset, description, fingerprint, state)


def _drawn(state: TrainState, seed: int) -> TrainState:
    """A state of the same shapes with random numbers, so that any change of a file shows."""
    rng = np.random.default_rng(seed)

    def draw(array: jax.Array) -> jax.Array:
        if not jnp.issubdtype(array.dtype, np.floating):
            return array
        values = rng.standard_normal(array.shape).astype(array.dtype)
        return jax.device_put(values, array.sharding)

    return jax.tree.map(draw, state)
