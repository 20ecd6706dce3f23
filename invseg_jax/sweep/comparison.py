"""A comparison from its first run to its last, as often as it has to be begun."""

from collections.abc import Callable
from pathlib import Path

from invseg_jax.data.batches.split import holds_out
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment
from invseg_jax.files.atomic_file import write_atomically
from invseg_jax.files.folder_lock import folder_lock
from invseg_jax.sweep import table
from invseg_jax.sweep.command_process import refuse_to_go_on, run_command
from invseg_jax.sweep.equal_time import EqualTime
from invseg_jax.sweep.grid import Run, Sweep
from invseg_jax.sweep.plot import draw
from invseg_jax.sweep.run_state import (
    SCORES_FOLDER,
    is_scored,
    is_trained,
    read_result,
    refuse_another,
    scored_step,
)
from invseg_jax.sweep.step_memory import measure_run
from invseg_jax.sweep.stored_figures import StoredFigures
from invseg_jax.sweep.summary import Outcome, Summary
from invseg_jax.training.preemption import StopRequest


class Comparison:
    """Trains and scores every run of a grid that is not finished, and writes the table."""

    def __init__(
        self,
        grid: Sweep,
        folder: Path,
        *,
        root: str | None,
        minutes: float | None,
        say: Callable[[str], None],
    ):
        """Checks that what lies in the folder belongs to this comparison.

        Args:
            grid: what is compared.
            folder: receives runs/, probes/, the table and what it is made of.
            root: of the data set; None for the embedded cohort.
            minutes: that each configuration trains; None for its own number of steps.
            say: told each run as it begins, and what failed.

        Raises:
            UserError: no such data, a run of other settings, or a damaged file in the folder.
        """
        self.grid, self.folder, self.root, self._say = grid, folder, root, say
        self._time = None if minutes is None else EqualTime(folder, minutes)
        self._memory = StoredFigures(folder / "memory.json", ("parameters", "bytes"))
        self._failed: dict[str, str] = {}
        if root is not None and not Path(root).is_dir():
            raise UserError(f"--data {root} is not a folder")
        for run in grid.runs():
            if root is None and run.row.experiment.data.embedded is None:
                raise UserError(f"{run.row.configuration} needs --data: the root of a data set")
            refuse_another(self.path(run), run, self.steps(run), root)

    def path(self, run: Run) -> Path:
        """The folder of a run."""
        return self.folder / "runs" / run.name

    def steps(self, run: Run) -> int | None:
        """How long it is trained; None where a probe has to tell it."""
        return run.row.experiment.steps if self._time is None else self._time.known(run)

    def run(self) -> Outcome:
        """Trains and scores what is not finished; after each run the table is written anew.

        A run that fails is told and left; all others are done.

        Raises:
            UserError: the table cannot be written, or another comparison is at work in the folder.
            SystemExit: SIGTERM came; the same comparison goes on from there.
        """
        runs = list(self.grid.runs())
        with folder_lock(self.folder, "a comparison"), StopRequest() as stop:
            self._write()  # now rather than after an hour says that the folder cannot be written
            for number, run in enumerate(runs, 1):
                refuse_to_go_on(stop)
                if (steps := self.steps(run)) and is_scored(self.path(run), run.experiment(steps)):
                    self._say(f"run {number} of {len(runs)}: {run.name} is finished already")
                else:
                    self._say(f"run {number} of {len(runs)}: {run.name}")
                    try:
                        self._finish(run, stop)
                    except UserError as error:
                        self._failed[run.name] = str(error)
                        self._say(f"failed: {run.name}: {error}")
                refuse_to_go_on(stop)
                self._measure_memory(run)
                self._write()
        return self.outcome()

    def outcome(self) -> Outcome:
        """What came of the runs so far."""
        rows = []
        runs = list(self.grid.runs())
        for row in self.grid.rows:
            own = [run for run in runs if run.row is row]
            found = [
                read_result(self.path(run), run, steps) for run in own if (steps := self.steps(run))
            ]
            results = [result for result in found if result is not None]
            rows.append(Summary(row, len(own), results, self._memory.get(row)))
        return Outcome(rows, self.grid.vary, self._failed)

    def _finish(self, run: Run, stop: StopRequest) -> None:
        """Trains and scores one run, from where it is."""
        data = [] if self.root is None else [f"--data={self.root}"]
        steps = self.steps(run)
        if steps is None:
            assert self._time is not None
            steps = self._time.measure(run, data, stop)
            self._say(f"{run.row.name}: {steps} steps in {self._time.minutes:g} minutes")
        path, experiment = self.path(run), run.experiment(steps)
        # Once more: before the probe, its number of steps was not known.
        refuse_another(path, run, steps, self.root)
        if not is_trained(path, experiment):
            self._train(run, steps, data, stop)
        self._score(run, experiment, stop)
        if scored_step(path) not in (None, steps):
            self._say(f"{run.name}: its last checkpoint is damaged and is made again")
            self._train(run, steps, data, stop)
            self._score(run, experiment, stop)
        if not is_scored(path, experiment):
            raise UserError("evaluate did not score the trained network")

    def _train(self, run: Run, steps: int, data: list[str], stop: StopRequest) -> None:
        path = self.path(run)
        arguments = [*run.arguments(steps), f"--workdir={path}", *data]
        status = run_command("invseg_jax.train", arguments, stop)
        if status or not is_trained(path, run.experiment(steps)):
            raise UserError(f"train ended with status {status}")

    def _score(self, run: Run, experiment: Experiment, stop: StopRequest) -> None:
        path = self.path(run)
        # Where nothing is held out, what the cases' annotated slices leave is scored.
        split = "val" if holds_out(experiment.data) else "train"
        arguments = [f"--workdir={path}", f"--split={split}", f"--output={path / SCORES_FOLDER}"]
        if status := run_command("invseg_jax.evaluate", arguments, stop):
            raise UserError(f"evaluate ended with status {status}")

    def _measure_memory(self, run: Run) -> None:
        if self._memory.get(run.row) is not None or run.name in self._failed:
            return
        try:
            self._memory.put(run.row, measure_run(self.path(run)))
        except UserError as error:
            self._say(f"no memory of {run.row.name}: {error}")

    def _write(self) -> None:
        outcome = self.outcome()
        for name, text in (
            ("table.md", table.markdown(outcome)),
            ("table.csv", table.table_csv(outcome)),
            ("runs.csv", table.runs_csv(outcome)),
        ):
            write_atomically(self.folder / name, text.encode())
        draw(self.folder / "table.png", outcome)
