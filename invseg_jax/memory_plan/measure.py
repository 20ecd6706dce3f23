"""The memory of one training step, from its compiled program, row by row."""

import re
import time
from dataclasses import asdict, dataclass
from typing import Any

import jax
from flax import nnx

from invseg_jax.data.batches.regions import Regions
from invseg_jax.devices.compiled_memory import compiled_bytes, copies
from invseg_jax.experiment import Experiment
from invseg_jax.files.byte_size import parse_size
from invseg_jax.inference.network import build_model
from invseg_jax.memory_plan.platform import Platform
from invseg_jax.memory_plan.residuals import trunk_activations
from invseg_jax.segmentation.objective import SegmentationObjective
from invseg_jax.training.program import ProgramTooLarge, TrainingProgram


@dataclass(frozen=True)
class Rows:
    """Where the bytes go, in one memory: of one accelerator, or of a CPU's machine.

    Attributes:
        parameters: the network's.
        averaged: their moving average.
        optimiser: its moments.
        gradients: one a parameter, while the step runs.
        activations: what the trunk keeps for the gradient, see `kept.trunk_activations`, and no
            more than the program has beside the other rows.
        workspace: the rest: augmentation, head, loss, and what a convolution or a
            reconstruction needs at one time.
        input: image and label.
    """

    parameters: int
    averaged: int
    optimiser: int
    gradients: int
    activations: int
    workspace: int
    input: int

    @property
    def total(self) -> int:
        """The bytes that the compiled program takes."""
        return sum(asdict(self).values())

    @property
    def state(self) -> int:
        """What depends on the parameters alone."""
        return self.parameters + self.averaged + self.optimiser + self.gradients


@dataclass(frozen=True)
class Measured:
    """One compiled training step.

    Attributes:
        rows: its memory.
        devices: over which the batch is spread.
        count: of parameters.
        seconds: that compiling took.
        refused: what the compiler said where the program is too large for the device, else None;
            the rows then are as large as it says, or without a workspace if it does not say.
    """

    rows: Rows
    devices: int
    count: int
    seconds: float
    refused: str | None = None

    def fits(self, budget: int) -> bool:
        """Whether the step can run within `budget` bytes."""
        return self.refused is None and self.rows.total <= budget


def measure(experiment: Experiment, platform: Platform, modalities: int, outputs: int) -> Measured:
    """Compiles the training step of an experiment for shapes alone, and takes its memory apart.

    Args:
        experiment: what is trained.
        platform: where.
        modalities: channels of the image.
        outputs: classes with the background, or regions where the experiment segments those.

    Raises:
        UserError: the experiment cannot be trained: a batch that the devices do not divide, a patch
            that the network does not take.
    """
    begun = time.perf_counter()
    devices = platform.mesh(experiment.devices, experiment.data.batch)
    model = nnx.eval_shape(lambda: build_model(experiment, modalities, outputs))
    regions = Regions.apart(outputs) if experiment.loss.regions else None
    graph, params = nnx.split(model)
    objective = SegmentationObjective.build(experiment, graph, modalities, regions)
    program = TrainingProgram.build(objective, params, experiment, experiment.optimiser, devices)
    try:
        refused, total = None, compiled_bytes(program.compile(platform.quick), devices)
    except ProgramTooLarge as error:
        refused = str(error.__cause__).splitlines()[0]
        total = _used(refused)

    # Replicated arrays lie in a shared memory once a device, spread ones once.
    each, share = copies(devices), copies(devices) / devices.size
    parameters = each * _bytes(program.state.params)
    averaged = each * _bytes(program.state.averaged)
    optimiser = each * _bytes(program.state.optimiser)
    batch = round(share * _bytes(program.batch))
    rest = max(total - 2 * parameters - averaged - optimiser - batch, 0)
    activations = round(share * trunk_activations(experiment, model, modalities))
    if refused is None:
        activations = min(activations, rest)
    return Measured(
        Rows(
            parameters=parameters,
            averaged=averaged,
            optimiser=optimiser,
            gradients=parameters,
            activations=activations,
            workspace=max(rest - activations, 0),
            input=batch,
        ),
        devices=devices.size,
        count=sum(leaf.size for leaf in jax.tree.leaves(program.state.params)),
        seconds=time.perf_counter() - begun,
        refused=refused,
    )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _used(message: str) -> int:
    """What a refused program would take, as far as the compiler says.

    "Used 20.05G of 15.75G hbm", "required for HLO temporaries (56.96G) exceeds": the latter leaves
    out the arguments, which are little beside them.
    """
    found = re.search(r"(?:Used |temporaries \()([0-9.]+)([KMGT])\b", message)
    return parse_size(f"{found[1]}{found[2]}iB") if found else 0
