"""As many steps as each configuration takes in one and the same time."""

import math
import shutil
from pathlib import Path

from invseg_jax.errors import UserError
from invseg_jax.files.folder_lock import LOCK, folder_lock
from invseg_jax.sweep.command_process import run_command
from invseg_jax.sweep.grid import Run
from invseg_jax.sweep.run_state import step_seconds
from invseg_jax.sweep.stored_figures import StoredFigures
from invseg_jax.training.preemption import StopRequest

PROBE_STEPS = 40
_NEVER = 1_000_000
# Validated and saved once, after the last step; logged often enough to see the rate.
_PROBE = (
    f"eval_every={_NEVER}",
    f"save_every={_NEVER}",
    "eval_cases=1",
    "log_every=5",
    "optimiser.warmup=0",
)


class EqualTime:
    """The number of steps of each row, measured once and kept in `steps.json`."""

    def __init__(self, folder: Path, minutes: float, probe_steps: int = PROBE_STEPS):
        """Reads what was measured before.

        Args:
            folder: of the comparison.
            minutes: that each configuration trains.
            probe_steps: after which the rate is taken.

        Raises:
            UserError: no time at all, or `steps.json` is damaged or for another time.
        """
        if not 0 < minutes < math.inf:
            raise UserError(f"--minutes {minutes}: give more than 0")
        self.folder, self.minutes, self.probe_steps = folder, minutes, probe_steps
        self._kept = StoredFigures(folder / "steps.json", ("minutes", "steps"))

    def known(self, run: Run) -> int | None:
        """The steps of the run's row, or None before the probe.

        Raises:
            UserError: they were measured for another time.
        """
        found = self._kept.get(run.row)
        if found is None:
            return None
        if found["minutes"] != self.minutes:
            raise UserError(
                f"{self._kept.file} has the steps of {run.row.name} for {found['minutes']:g} "
                f"minutes, now {self.minutes:g}; give another --output"
            )
        return found["steps"]

    def measure(self, run: Run, data: list[str], stop: StopRequest) -> int:
        """Trains some steps and takes the rate.

        Args:
            run: the first of its row.
            data: arguments of `train` that say where its data is.
            stop: see `run_command`.

        Raises:
            UserError: the probe failed, an earlier one is still at work, or `steps.json` cannot be
                written.
        """
        workdir = self.folder / "probes" / run.row.name
        with folder_lock(workdir, "a probe"):
            # What is left of one that was stopped, maybe by other settings, is no start; its lock
            # stays, as a probe whose comparison was killed may still hold it.
            for path in workdir.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != LOCK:
                    path.unlink()
        changes = [f"--config.{change}" for change in _PROBE]
        status = run_command(
            "invseg_jax.train",
            [*run.arguments(self.probe_steps), *changes, f"--workdir={workdir}", *data],
            stop,
        )
        seconds = step_seconds(workdir)
        if status:
            raise UserError(f"its probe of {self.probe_steps} steps ended with status {status}")
        if not seconds > 0:
            raise UserError(f"its probe of {self.probe_steps} steps logged no rate: {workdir}")
        steps = max(1, int(float(f"{60 * self.minutes / seconds:.2e}")))
        warmup = run.row.experiment.optimiser.warmup
        if steps < warmup:
            raise UserError(
                f"{self.minutes:g} minutes are {steps} steps here, fewer than the warm-up of "
                f"{warmup}; give more --minutes, or --set optimiser.warmup"
            )
        self._kept.put(run.row, {"minutes": self.minutes, "step_seconds": seconds, "steps": steps})
        return steps
