"""Interactive segmentation as a task for the trainer: both networks, trained together.

The two networks share nothing but the batch's cases, so one run, one checkpoint and one command
hold all that a session needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from flax import nnx

from invseg_jax.data.batches.source import chosen_cases, open_source, prepared_split, tell_split
from invseg_jax.data.checks.cases import refuse_faults
from invseg_jax.data.prepare.cached_case import CachedCase
from invseg_jax.data.prepare.fingerprint import Fingerprint
from invseg_jax.devices import mesh
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment
from invseg_jax.inference.trained_run import DataDescription, describe
from invseg_jax.interactive.batches import example_batches
from invseg_jax.interactive.examples import Shapes
from invseg_jax.interactive.objective import InteractiveObjective, build_networks
from invseg_jax.interactive.stack import Stack
from invseg_jax.interactive.trained import NetworkMethod
from invseg_jax.interactive.validate import first_round
from invseg_jax.reversible.layer import Array
from invseg_jax.runs.run_folder import RunDescription
from invseg_jax.training.task import Batch, Batches, Parameters, Part, Validation

Say = Callable[[str], None]


@dataclass(frozen=True)
class InteractiveTask:
    """A `training.task.Task`; `open` makes one.

    Attributes:
        experiment: all settings.
        data: what the networks are trained on.
        objective: the loss.
        training: the prepared cases to train on.
        held_out: the prepared cases to score.
        fingerprint: of the cases to train on.
        stacks: the cases to train on that hold an object, slices first.
    """

    experiment: Experiment
    data: DataDescription
    objective: InteractiveObjective
    training: list[CachedCase]
    held_out: list[CachedCase]
    fingerprint: Fingerprint
    stacks: list[Stack]

    title = "interactive"
    remedy = "lower config.optimiser.learning_rate, or look at the data"

    @classmethod
    def open(
        cls, experiment: Experiment, root: str | None, say: Say, *, known_by: str
    ) -> "InteractiveTask":
        """Checks the settings, then opens, checks and prepares the data.

        Args:
            experiment: what is trained, and on what.
            root: of the data set; None for the embedded cohort, where the experiment has one.
            say: told one line at a time.
            known_by: what the digests of cases are taken of; see `DataDescription`.

        Raises:
            UserError: a fault of the settings or of the data.
        """
        dataset = open_source(experiment.data, root, say)
        if others := dataset.modalities[1:]:
            say(f"of the modalities, {dataset.modalities[0]} is used; not {', '.join(others)}")
        mesh.make_mesh(experiment.devices, experiment.data.batch)
        objective = InteractiveObjective.build(experiment)
        tell_split(experiment.data, dataset, say)
        cases = chosen_cases(experiment.data, dataset)
        refuse_faults(experiment.data, dataset, cases, say)
        training, held_out, fingerprint = prepared_split(experiment.data, dataset, say)
        stacks = [Stack.of(case, case.geometry.spacing) for case in training]
        if not (stacks := [stack for stack in stacks if stack.objects]):
            raise UserError(
                "no training case holds an object: check the split, and the classes of the labels"
            )
        return cls(
            experiment,
            DataDescription.of(
                experiment.data.layout, dataset, root, training, held_out, known_by=known_by
            ),
            objective,
            training,
            held_out,
            fingerprint,
            stacks,
        )

    @property
    def summary(self) -> str:
        """How many cases there are, and what a step takes."""
        settings, examples = self.experiment.interactive, self.experiment.patches_a_step
        return (
            f"{len(self.training)} training and {len(self.held_out)} held-out cases, batch "
            f"{examples * settings.slices} slices and {examples} clips of {settings.asked}"
        )

    @property
    def description(self) -> RunDescription:
        """The experiment, the data and their fingerprint."""
        return describe(self.experiment, self.data, self.fingerprint)

    @property
    def batch(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Shapes of slices and clips."""
        return self.objective.batch

    @property
    def shown(self) -> Mapping[str, str]:
        """The Dices of slices and of clips."""
        return {"slice_dice": "slice", "clip_dice": "clip"}

    def parameters(self, key: Array) -> Parameters:
        """The first parameters of both networks, Flax states by name."""
        networks = build_networks(self.experiment, key)
        names = ("interaction", "memory")
        return {name: nnx.split(net)[1] for name, net in zip(names, networks, strict=True)}

    def loss(
        self, parameters: Parameters, batch: Batch, key: Array
    ) -> tuple[Array, dict[str, Array]]:
        """See `InteractiveObjective.loss`."""
        return self.objective.loss(parameters, batch, key)

    def batches(self, part: Part) -> Batches:
        """Slices with prompts, and clips, of the cases to train on."""
        settings = self.experiment.interactive
        return example_batches(
            self.stacks,
            Shapes(settings.window, settings.known, settings.asked),
            settings.slices,
            self.experiment.patches_a_step,
            seed=self.experiment.seed,
            threads=self.experiment.data.threads,
            process=part.process,
            processes=part.processes,
        )

    def validate(self, parameters: Parameters) -> Validation | None:
        """Plays one round on some held-out cases: extreme points on the largest slice."""
        cases = self.held_out[: self.experiment.eval_cases or None]
        stacks = [Stack.of(case, case.geometry.spacing) for case in cases]
        stacks = [stack for stack in stacks if stack.objects]
        if not stacks:
            return None
        method = NetworkMethod.of(self.objective, parameters)
        rounds = [first_round(stack, method) for stack in stacks]
        slices, volumes = np.mean(rounds, axis=0)
        return Validation(
            f"held-out Dice: slice {slices:.3f}  volume after one round {volumes:.3f}",
            {"dice/slice": float(slices), "dice/volume": float(volumes)},
        )
