"""The folder of a run: what was asked for, and what came of it.

Its files:

    RUN/config.json         what was asked for, every value
    RUN/history.jsonl       one line of scalars a log step
    RUN/checkpoints/        one folder a step

and what else a task describes itself by (`RunDescription.files`). The JSON files have a format
number and a digest, see `signed_json`.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from invseg_jax.errors import UserError
from invseg_jax.files.atomic_file import write_atomically
from invseg_jax.files.folder_lock import folder_lock
from invseg_jax.files.json_values import JsonObject
from invseg_jax.runs import signed_json
from invseg_jax.runs.history import read_rows
from invseg_jax.runs.saved_steps import saved_steps


@dataclass(frozen=True)
class RunDescription:
    """What a training writes into its folder, and what a checkpoint must agree with.

    Attributes:
        steps: of the training.
        files: JSON values by name of their file, such as "config.json".
        needed: names of the files without which a checkpoint cannot be resumed.
        fault: called with the folder and the newest saved step; says what keeps this training from
            going on with the run that is there ("holds a run with another ..."), or None.
    """

    steps: int
    files: Mapping[str, JsonObject]
    needed: tuple[str, ...]
    fault: Callable[[Path, int], str | None]


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the files of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def newest_step(self) -> int:
        """The newest step that was saved; 0 where none was."""
        return max(saved_steps(self.checkpoints), default=0)

    @contextlib.contextmanager
    def training(self, description: RunDescription, *, lock: bool = True) -> Iterator[None]:
        """Writes the JSON files, and keeps other trainings out while the block runs.

        Args:
            description: of the training.
            lock: of several processes that train together, one does it.

        Raises:
            UserError: as `describe`; or another training is at work in the folder.
        """
        with folder_lock(self.path, "a training") if lock else contextlib.nullcontext():
            self.describe(description)
            yield

    def describe(self, description: RunDescription) -> None:
        """Writes the JSON files, unless the folder holds a run that this training cannot resume.

        Where nothing was saved yet there is nothing to resume.

        Raises:
            UserError: the folder holds a run that this training cannot resume, one of more steps,
                or checkpoints without the files that belong to them. Nothing is written.
        """
        if step := self.newest_step():
            self._refuse_another(step, description)
        for name, values in description.files.items():
            self._write(name, signed_json.to_text(values))

    def read_history(self, up_to: int) -> list[dict[str, float]]:
        """The scalars logged up to and including a step, and the file cut there.

        Raises:
            UserError: the file cannot be read or written.
        """
        file = self.path / "history.jsonl"
        if not file.exists():
            return []
        try:
            rows = [row for row in read_rows(file) if row["step"] <= up_to]
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from error
        self._write("history.jsonl", "".join(map(_line, rows)))
        return rows

    def append_history(self, row: Mapping[str, float]) -> None:
        """Adds one line of scalars; what is no number is null there.

        Raises:
            UserError: it cannot be written, as when the disk is full.
        """
        try:
            with (self.path / "history.jsonl").open("a") as file:
                file.write(_line(row))
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}") from error

    def _refuse_another(self, step: int, description: RunDescription) -> None:
        """Refuses what cannot go on from a saved step; see `describe`."""
        if step > description.steps:
            raise UserError(
                f"{self.path} holds a run that was saved at step {step}, beyond config.steps="
                f"{description.steps}; take more steps to go on with it, or another --workdir"
            )
        for name in description.needed:
            if not (self.path / name).exists():
                raise UserError(
                    f"{self.path} holds the checkpoint of step {step} and no {name}; put it "
                    "back, or give another --workdir"
                )
        if fault := description.fault(self.path, step):
            raise UserError(f"{self.path} {fault}")

    def _write(self, name: str, text: str) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / name, text.encode())
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}") from error


def _line(row: Mapping[str, float]) -> str:
    """A row as strict JSON, which has neither NaN nor infinity."""
    values = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return json.dumps(values, allow_nan=False) + "\n"
