"""Training steps as `train` takes them, and how long each waited for its batch."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from invseg_jax.data.batches.regions import Regions
from invseg_jax.devices import mesh
from invseg_jax.experiment import Experiment
from invseg_jax.inference.network import build_model
from invseg_jax.segmentation.objective import SegmentationObjective
from invseg_jax.training.program import TrainingProgram
from invseg_jax.training.task import Batch, HostBatch


@dataclass(frozen=True)
class Times:
    """Seconds of a number of steps, one after the other.

    Attributes:
        steps: of each whole step, the wait for its batch included.
        waits: until the batch was there and handed to the devices, which had nothing to do
            meanwhile; what `train` shows as "wait".
    """

    steps: list[float]
    waits: list[float]

    @property
    def share(self) -> float:
        """Of all time the part that was waited."""
        return sum(self.waits) / sum(self.steps)


class TrainingStep:
    """A compiled training step with its state."""

    def __init__(
        self,
        experiment: Experiment,
        modalities: int,
        outputs: int,
        options: Mapping[str, int | str] | None = None,
    ):
        """Draws the network's weights and compiles.

        Args:
            experiment: as `train` takes it.
            modalities: channels of the image.
            outputs: classes with the background, or regions where the experiment segments those.
            options: for the compiler.

        Raises:
            UserError: the network does not take the patch.
        """
        self.devices = mesh.make_mesh(experiment.devices, experiment.data.batch)
        model = build_model(experiment, modalities, outputs)
        self.margin = model.margin
        regions = Regions.apart(outputs) if experiment.loss.regions else None
        graph, params = nnx.split(model)
        objective = SegmentationObjective.build(experiment, graph, modalities, regions)
        program = TrainingProgram.build(
            objective, params, experiment, experiment.optimiser, self.devices
        )
        self._state = program.first_state(jax.tree.map(jnp.copy, params))
        self._step = program.compile(options)

    def take(self, batch: Batch) -> None:
        """One step on a batch that is on the devices; waits for its end."""
        self._state, metrics = self._step(self._state, batch)
        jax.block_until_ready((self._state, metrics))


def take_steps(
    step: TrainingStep, batches: Iterator[HostBatch], count: int, warm_up: int = 3
) -> Times:
    """Takes `count` steps, each on the next batch.

    Args:
        step: see `TrainingStep`.
        batches: of arrays on the host.
        count: how many steps.
        warm_up: so many before them are not counted.

    Returns:
        Their times.
    """
    times = Times([], [])
    for number in range(warm_up + count):
        begun = time.perf_counter()
        batch = mesh.place_batch(next(batches), step.devices)
        placed = time.perf_counter()
        step.take(batch)
        if number >= warm_up:
            times.waits.append(placed - begun)
            times.steps.append(time.perf_counter() - begun)
    return times
