"""The trainer: it takes a task from its first step, or its newest checkpoint, to its last step.

Every turn of the loop does the same, in this order: score, save, next batch, step, log, stop. The
trainer knows nothing of what is learned; see `task.Task`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from invseg_jax.devices import mesh
from invseg_jax.devices.compiled_memory import shortage
from invseg_jax.experiment import OptimiserSettings, TrainerSettings
from invseg_jax.reversible.layer import Array
from invseg_jax.runs.checkpoints import Checkpoints
from invseg_jax.runs.run_folder import RunFolder
from invseg_jax.runs.train_state import TrainState
from invseg_jax.training.divergence import refuse_divergence
from invseg_jax.training.log import TrainingLog
from invseg_jax.training.profile import Profile
from invseg_jax.training.program import TrainingProgram
from invseg_jax.training.task import Part, Task


def never() -> bool:
    """Nobody asks to stop."""
    return False


@dataclass(frozen=True)
class Fitted:
    """What came of a training.

    Attributes:
        state: after the last step that was taken.
        step: its number.
        stopped: whether the training was asked to stop before its end; it has saved.
    """

    state: TrainState
    step: int
    stopped: bool


@dataclass(frozen=True)
class Trainer:
    """Trains tasks.

    Attributes:
        settings: how many steps, and when to log, score and save.
        optimiser: what moves the parameters.
        workdir: the run's folder.
        say: told one line at a time.
        stopping: asked once before each step whether to save and stop there.
        profile: the steps to trace into `workdir`/profile, counted from 0; see
            `profile.parse_window`.
    """

    settings: TrainerSettings
    optimiser: OptimiserSettings
    workdir: Path
    say: Callable[[str], None] = print
    stopping: Callable[[], bool] = never
    profile: range = range(0)

    def fit(self, task: Task) -> Fitted:
        """Trains a task from the newest checkpoint in the folder, or from the start.

        Raises:
            UserError: the folder holds another run; or in the course of training, a loss that is
                not finite, or memory or disk that ran out.
        """
        settings, run = self.settings, RunFolder(self.workdir)
        part = Part(jax.process_index(), jax.process_count())
        devices = self._devices(task)
        params = task.parameters(jax.random.key(settings.seed))
        program = TrainingProgram.build(task, params, settings, self.optimiser, devices)
        batches = task.batches(part)
        state = program.first_state(params)
        del params
        count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        kind = devices.devices.flat[0].platform
        self.say(
            f"{task.title}: {count:,} parameters, {task.summary} on {devices.size} {kind} device(s)"
        )
        with (
            run.training(task.description, lock=part.process == 0),
            Checkpoints(run.checkpoints, keep=settings.keep, say=self.say) as checkpoints,
        ):
            first = 0
            if resumed := checkpoints.restore_newest(state, batches):
                first, state = resumed
                self.say(f"resumed from step {first} of {settings.steps}")
            take_step: Any = None
            metrics: dict[str, Array] = {}
            with (
                TrainingLog(
                    run, first=first, steps=settings.steps, shown=task.shown, say=self.say
                ) as log,
                Profile(self.profile, run.path / "profile", log.say, first) as profiling,
            ):
                for step in range(first, settings.steps + 1):
                    # Before the next batch is drawn, so that what is saved belongs together.
                    last = step == settings.steps
                    stopping = self.stopping()  # once: what comes later is for the next step
                    saving = last or stopping or step % settings.save_every == 0
                    due = last or step % settings.eval_every == 0
                    if step > first and (saving or due):
                        refuse_divergence(metrics, step, checkpoints.latest(), task.remedy, state)
                    if step > first and saving:
                        checkpoints.save(step, state, batches)
                    # A stop may have come between the last save and the validation due after it.
                    missed = step == first > 0 and not log.validated(step)
                    if (step > first or missed) and due and not stopping:
                        if found := task.validate(state.averaged):
                            log.validation(step, found)
                        log.draw(run.path / "progress.png")
                        log.restart_clock(step)
                    if last or stopping:
                        break

                    with profiling.step(step):
                        begun = time.perf_counter()
                        with profiling.phase("wait for data"):
                            batch = next(batches)
                        with profiling.phase("place on devices"):
                            batch = mesh.place_batch(batch, devices)
                        log.waited(time.perf_counter() - begun)
                        if step == first:
                            take_step = self._compiled(program, log)
                            log.restart_clock(step)
                        with profiling.phase("start step"):
                            state, metrics = take_step(state, batch)
                    log.advance(step + 1)

                    if step == first or (step + 1) % settings.log_every == 0:
                        refuse_divergence(metrics, step + 1, checkpoints.latest(), task.remedy)
                        scalars = {name: float(value) for name, value in metrics.items()}
                        scalars["learning_rate"] = program.learning_rate(step)
                        log.training(step + 1, scalars)
                checkpoints.wait()
        return Fitted(state, step, stopping)

    def _devices(self, task: Task) -> Mesh:
        """The mesh over which a batch of the task is spread."""
        examples = next(iter(task.batch.values())).shape[0] // self.optimiser.accumulate
        return mesh.make_mesh(self.settings.devices, examples)

    def _compiled(self, program: TrainingProgram, log: TrainingLog) -> jax.stages.Compiled:
        """The step, compiled; says where it may be too large."""
        log.say("compiling the training step")
        take_step = program.compile()
        if warning := shortage(take_step, program.devices):
            log.say(warning)
        program.learning_rate(0)  # compiles a program too
        return take_step
