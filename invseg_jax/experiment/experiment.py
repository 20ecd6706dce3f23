"""An experiment: all settings of one training, from which the same run can be made again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from invseg_jax.experiment.augmentation import Augmentation
from invseg_jax.experiment.data import DataSettings
from invseg_jax.experiment.inference import InferenceSettings
from invseg_jax.experiment.interactive import InteractiveSettings
from invseg_jax.experiment.loss import LossSettings
from invseg_jax.experiment.model import BranchSettings, ModelSettings
from invseg_jax.experiment.optimiser import OptimiserSettings
from invseg_jax.experiment.section import Section
from invseg_jax.layers.execution import Execution, Precision


@dataclass(frozen=True)
class TrainerSettings(Section):
    """How long a training is, and when it saves, logs and scores.

    Attributes:
        seed: seed of the weights, the crops and the augmentation, 0 to 2^32 - 1.
        steps: number of training steps; the learning rate decays to zero over them.
        devices: number of devices to spread a batch over; 0: as many as divide it evenly.
        log_every: steps between two lines of the log.
        eval_every: steps between two scorings of the held-out cases.
        save_every: steps between two checkpoints.
        keep: number of checkpoints that are kept, the newest ones.

    Raises:
        UserError: a number is out of range.
    """

    seed: int = 0
    steps: int = 1000
    devices: int = 0
    log_every: int = 20
    eval_every: int = 250
    save_every: int = 250
    keep: int = 2

    def check(self) -> None:
        """Checks the ranges."""
        self.at_least(1, "steps", "log_every", "eval_every", "save_every", "keep")
        self.at_least(0, "devices")
        if not 0 <= self.seed < 2**32:
            raise self.wrong("seed", f"give a number from 0 to {2**32 - 1}")


@dataclass(frozen=True)
class Experiment(TrainerSettings):
    """All settings of one training.

    Attributes:
        task: what is learned: "segmentation" of whole volumes, or "interactive" segmentation from
            prompts. The latter takes the sections `data`, `optimiser` and `interactive` alone.
        precision: number format of the convolutions' factors: "float32" or "bfloat16".
        eval_cases: number of held-out cases that are scored during training; 0: all.
        model: the network and how it is evaluated.
        vae: a branch that regularises training.
        data: which cases, and which crops of them.
        augment: what is done to a patch.
        loss: what training makes small.
        optimiser: what moves the parameters.
        inference: how a network passes over a whole volume.
        interactive: the networks of the task "interactive", and their training examples.

    Raises:
        UserError: a value is out of range, or two settings do not go together.
    """

    KEY: ClassVar[str] = ""

    task: Literal["segmentation", "interactive"] = "segmentation"
    precision: Precision = "float32"
    eval_cases: int = 8
    model: ModelSettings = ModelSettings()
    vae: BranchSettings = BranchSettings()
    data: DataSettings = DataSettings()
    augment: Augmentation = Augmentation()
    loss: LossSettings = LossSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    inference: InferenceSettings = InferenceSettings()
    interactive: InteractiveSettings = InteractiveSettings()

    def check(self) -> None:
        """Checks the ranges, and what two sections have to agree in."""
        super().check()
        self.at_least(0, "eval_cases")
        if self.optimiser.warmup > self.steps:
            raise self.optimiser.wrong(
                "warmup", f"the run has only {self.steps} steps: give fewer, or more config.steps"
            )

    @property
    def execution(self) -> Execution:
        """How layers are evaluated."""
        return self.model.execution(self.precision)

    @property
    def patches_a_step(self) -> int:
        """How many patches one step takes, over all devices."""
        return self.data.batch * self.optimiser.accumulate

    def changed(self, changes: Mapping[str, object]) -> "Experiment":
        """A copy with other values.

        Args:
            changes: by dotted names such as "data.patch". A new "model.name" brings the network's
                own defaults for `model.settings` and `model.memory`.

        Raises:
            UserError: there is no such setting (a similar name is suggested), or a value is wrong.
        """
        from invseg_jax.experiment.changes import changed

        return changed(self, changes)

    def to_json(self) -> dict[str, object]:
        """Every value as JSON has it: sections are objects, tuples are lists."""
        from invseg_jax.experiment.stored import to_json

        return to_json(self)
