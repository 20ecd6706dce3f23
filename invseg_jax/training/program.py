"""The program of one training step: what `train` runs and what `plan` measures, built in one place.

It is described by shapes alone, so it can be compiled for arrays that do not exist yet and for
devices that are not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from invseg_jax.devices import mesh
from invseg_jax.devices.main_memory import give_back
from invseg_jax.errors import UserError
from invseg_jax.experiment import OptimiserSettings, TrainerSettings
from invseg_jax.reversible.layer import Array, PyTree
from invseg_jax.runs.train_state import TrainState
from invseg_jax.training.optimiser import first_state, make_optimiser, schedule
from invseg_jax.training.step import make_step
from invseg_jax.training.task import Batch, Metrics, Parameters


class Objective(Protocol):
    """What a step is compiled for; the part of a `task.Task` that needs no data."""

    @property
    def batch(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Shape and type of each array of a batch."""
        ...

    def loss(self, parameters: Parameters, batch: Batch, key: Array) -> tuple[Array, Metrics]:
        """See `task.Task.loss`."""
        ...


class ProgramTooLarge(UserError):
    """The compiler refuses a step for which the device has too little memory."""


@dataclass(frozen=True)
class TrainingProgram:
    """One training step for given shapes on given devices.

    Attributes:
        devices: the mesh; the state lies on every device, the batch is spread over them.
        optimiser: moves the parameters.
        rate: the learning rate at each step.
        state: shapes, types and placement of the state, as a `TrainState`.
        batch: the same of a batch, by name.
        step: the jitted step, which donates the state.
        seed: of the run's random key.
    """

    devices: Mesh
    optimiser: optax.GradientTransformation
    rate: optax.Schedule
    state: TrainState
    batch: dict[str, jax.ShapeDtypeStruct]
    step: jax.stages.Wrapped
    seed: int

    @classmethod
    def build(
        cls,
        objective: Objective,
        params: Parameters,
        settings: TrainerSettings,
        optimiser: OptimiserSettings,
        devices: Mesh,
    ) -> "TrainingProgram":
        """The program that makes the loss of a task small.

        Args:
            objective: gives the loss and the shapes of a batch; a task is one.
            params: the first parameters, or their shapes.
            settings: the number of steps and the seed.
            optimiser: moves the parameters.
            devices: see `mesh.make_mesh`.
        """
        transformation = make_optimiser(optimiser, settings.steps)
        everywhere, spread = mesh.replicated(devices), mesh.over_batch(devices)
        state = jax.eval_shape(lambda p: first_state(p, transformation, settings.seed), params)
        step = jax.jit(
            make_step(
                objective.loss,
                transformation,
                average=optimiser.average,
                accumulate=optimiser.accumulate,
            ),
            donate_argnums=0,
            out_shardings=everywhere,
        )
        return cls(
            devices=devices,
            optimiser=transformation,
            # One program, not one an operation.
            rate=jax.jit(schedule(optimiser, settings.steps)),
            state=_placed(state, everywhere),
            batch=_placed(dict(objective.batch), spread),
            step=step,
            seed=settings.seed,
        )

    def first_state(self, params: Parameters) -> TrainState:
        """The state before the first step, on the devices."""
        state = first_state(params, self.optimiser, self.seed)
        return jax.device_put(state, mesh.replicated(self.devices))

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return float(np.asarray(self.rate(step)))

    def compile(self, options: Mapping[str, int | str] | None = None) -> jax.stages.Compiled:
        """Compiles the step, which may take a minute; nothing is run.

        Args:
            options: for the compiler.

        Returns:
            The step: called with a state and a batch placed as `state` and `batch` say, it gives
            the next state and the metrics, and the given state is gone.

        Raises:
            ProgramTooLarge: the compiler knows that the device's memory cannot hold it.
        """
        lowered = self.step.lower(self.state, self.batch)
        given: Any = options  # JAX takes numbers too, and its own type leaves them out
        try:
            compiled = lowered.compile(compiler_options=given)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            kind = self.devices.devices.flat[0].device_kind
            raise ProgramTooLarge(
                f"the training step is too large for {kind}: {str(error).splitlines()[0]} "
                "python -m invseg_jax.plan --config CONFIG --memory SIZE finds what fits"
            ) from error
        del lowered
        give_back()
        return compiled


def _placed(tree: PyTree, placement: NamedSharding) -> PyTree:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=placement), tree)
