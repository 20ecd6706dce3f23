"""The program of one training step: what `train` runs and what `plan` measures, built in one place.

It is described by shapes alone, so it can be compiled for arrays that do not exist yet and for
devices that are not there.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from invseg_jax.configuration import Config, patches_a_step
from invseg_jax.data.augment import Augmentation
from invseg_jax.data.regions import Regions
from invseg_jax.errors import UserError
from invseg_jax.main_memory import give_back
from invseg_jax.training import mesh
from invseg_jax.training.losses import LossSettings, deeply_supervised
from invseg_jax.training.reconstruction import ReconstructionWeights
from invseg_jax.training.state import (
    OptimiserSettings,
    TrainState,
    first_state,
    make_optimiser,
    schedule,
)
from invseg_jax.training.step import make_step


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
        batch: the same of a batch: `image` (n, d, h, w, modalities), `label` (n, d, h, w).
        step: the jitted step, which donates the state.
        seed: of the run's random key.
        flip: probability of mirroring along each axis.
    """

    devices: Mesh
    optimiser: optax.GradientTransformation
    rate: optax.Schedule
    state: TrainState
    batch: dict[str, jax.ShapeDtypeStruct]
    step: Any
    seed: int
    flip: tuple[float, float, float]

    @classmethod
    def build(
        cls,
        config: Config,
        model: nnx.Module,
        modalities: int,
        devices: Mesh,
        regions: Regions | None = None,
    ) -> "TrainingProgram":
        """The program that a configuration asks for.

        Args:
            config: everything but the network is taken from it.
            model: the network, its parameters arrays or (`nnx.eval_shape`) shapes.
            modalities: channels of the image.
            devices: see `mesh.make_mesh`.
            regions: what the outputs stand for, where that is not the classes.

        Raises:
            UserError: the settings of the loss, the optimiser or the augmentation are out of range.
        """
        patch = tuple(config.data.patch)
        settings = OptimiserSettings(**config.optimiser)
        augmentation = Augmentation.of(config)
        loss = partial(deeply_supervised, settings=LossSettings(**config.loss), regions=regions)
        weights = ReconstructionWeights.of(config)
        optimiser = make_optimiser(settings, config.steps)
        graph, params = nnx.split(model)
        everywhere, spread = mesh.replicated(devices), mesh.over_batch(devices)
        state = jax.eval_shape(lambda params: first_state(params, optimiser, config.seed), params)
        shape = (patches_a_step(config), *patch)
        batch = {
            "image": jax.ShapeDtypeStruct((*shape, modalities), jnp.float32),
            "label": jax.ShapeDtypeStruct(shape, jnp.int32),
        }
        step = jax.jit(
            make_step(
                graph,
                optimiser,
                augmentation,
                average=settings.average,
                loss=loss,
                weights=weights,
                accumulate=settings.accumulate,
            ),
            donate_argnums=0,
            out_shardings=everywhere,
        )
        return cls(
            devices=devices,
            optimiser=optimiser,
            rate=jax.jit(schedule(settings, config.steps)),  # one program, not one an operation
            state=_placed(state, everywhere),
            batch=_placed(batch, spread),
            step=step,
            seed=config.seed,
            flip=augmentation.flip,
        )

    def first_state(self, params: Any) -> TrainState:
        """The state before the first step, on the devices."""
        state = first_state(params, self.optimiser, self.seed)
        return jax.device_put(state, mesh.replicated(self.devices))

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return float(np.asarray(self.rate(step)))

    def compile(self, options: dict[str, Any] | None = None) -> jax.stages.Compiled:
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
        try:
            compiled = lowered.compile(compiler_options=options)
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


def _placed(tree: Any, placement: NamedSharding) -> Any:
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=placement), tree)
