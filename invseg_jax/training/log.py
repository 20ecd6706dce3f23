"""What a training run shows and keeps of its progress."""

import contextlib
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore  (made at import)
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

from invseg_jax.files.printable import printable
from invseg_jax.runs.run_folder import RunFolder
from invseg_jax.training.task import Validation


class TrainingLog:
    """A progress bar or plain lines, TensorBoard scalars, history.jsonl and progress.png.

    Use as a context manager. On a terminal one bar shows the last loss, the metrics that the task
    names, steps a second, "wait", the share of time spent waiting for data, and the time left;
    elsewhere each log step is a line.
    """

    def __init__(
        self,
        run: RunFolder,
        *,
        first: int,
        steps: int,
        shown: Mapping[str, str] | None = None,
        say: Callable[[str], None] | None = None,
    ):
        """Continues the log of a run.

        Args:
            run: its folder.
            first: steps taken so far; later entries of an earlier attempt are cut off.
            steps: steps in all.
            shown: metrics to show beside the loss, and what each is called there.
            say: told each line where there is no terminal; None: they are printed.
        """
        self._shown, self._tell = dict(shown or {}), say
        self.console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
        self._run, self._steps = run, steps
        self._rows = run.read_history(first)
        self._events = _EventFile(run.path / "tensorboard", first, self.say)
        # Short enough for 80 columns: rich would cut the numbers before the bar.
        self._bar = Progress(
            BarColumn(bar_width=8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=steps, completed=first, text="")
        self._begun, self._begun_at, self._waited = time.perf_counter(), first, 0.0

    def __enter__(self) -> "TrainingLog":
        """Starts the bar."""
        self._bar.start()
        return self

    def __exit__(self, *exception) -> None:
        """Stops the bar and closes the files.

        A disk that is full, or a terminal that is gone, does not replace the error that says so.
        """
        with contextlib.suppress(OSError):
            self._bar.stop()
        with contextlib.suppress(OSError):
            self._events.close()

    def say(self, text: str) -> None:
        """Prints one line, above the bar if there is one; what is not printable is escaped."""
        if self._tell is not None and not self.console.is_terminal:
            self._tell(printable(text))
        else:
            self.console.print(printable(text), markup=False)

    def waited(self, seconds: float) -> None:
        """Adds to the time that the loop waited for data."""
        self._waited += seconds

    def advance(self, step: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=step)

    def restart_clock(self, step: int) -> None:
        """Leaves what happened since the last log step (compiling, evaluating) out of the rate."""
        self._begun, self._begun_at, self._waited = time.perf_counter(), step, 0.0

    def training(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of a step, and the rate since the last log step.

        A metric that the batch does not give is NaN: it is shown as n/a and is not kept.
        """
        now = time.perf_counter()
        elapsed, taken = max(now - self._begun, 1e-9), step - self._begun_at
        rate, waiting = taken / elapsed, self._waited / elapsed
        self.restart_clock(step)
        left = (self._steps - step) / rate if rate else float("nan")
        numbers = {"loss": metrics["loss"]}
        numbers |= {name: metrics[metric] for metric, name in self._shown.items()}
        texts = [f"{name} {'n/a' if math.isnan(v) else f'{v:.3f}'}" for name, v in numbers.items()]
        text = "  ".join([*texts, f"{rate:.2f} steps/s", f"wait {100 * waiting:.0f} %"])
        self._bar.update(self._task, completed=step, text=text)
        if not self.console.is_terminal:
            minutes = f"{left // 60:.0f} min {left % 60:.0f} s left"
            self.say(f"step {step}/{self._steps}  {text}  {minutes}")
        given = {name: v for name, v in metrics.items() if not math.isnan(v)}
        rates = {"steps_per_second": rate, "data_wait": waiting}
        self._write(step, {f"train/{name}": value for name, value in ({**given, **rates}).items()})

    def validated(self, step: int) -> bool:
        """Whether the held-out cases were scored after a step, now or in an earlier attempt."""
        rows = (row for row in self._rows if row["step"] == step)
        return any(name.startswith("val/") for row in rows for name in row)

    def validation(self, step: int, found: Validation) -> None:
        """Logs what the held-out cases show after `step` steps."""
        self.say(f"step {step}/{self._steps}  {found.text}")
        self._write(step, {f"val/{name}": value for name, value in found.scores.items()})

    def draw(self, path: Path) -> None:
        """Draws the history so far."""
        # Imported when the first picture is due: matplotlib would hold up the first step.
        from invseg_jax.training.curves import draw_curves

        history: dict[str, list[tuple[int, float]]] = {}
        for row in self._rows:
            for name, value in row.items():
                if name != "step":
                    history.setdefault(name, []).append((int(row["step"]), value))
        draw_curves(path, history, self._shown)

    def _write(self, step: int, scalars: Mapping[str, float]) -> None:
        row = {"step": step, **scalars}
        self._rows.append(row)
        self._run.append_history(row)
        self._events.add(step, scalars)


class _EventFile:
    """TensorBoard's file of this attempt; a write that fails costs one line, and what comes later.

    tensorboardX's SummaryWriter is not used: it writes from a thread, through a queue of ten. Once
    a write has failed the thread is dead, the queue fills, and training would wait for ever.
    """

    # As often as SummaryWriter does: each time waits until the disk has it.
    FLUSH_SECONDS = 120.0

    def __init__(self, folder: Path, first: int, say: Callable[[str], None]):
        """Makes the file; TensorBoard leaves out what earlier ones say of steps after `first`."""
        host, process = socket.gethostname(), os.getpid()
        self._path = folder / f"events.out.tfevents.{int(time.time())}.{host}.{process}"
        self._say = say
        self._records: RecordWriter | None = None
        self._flushed = float("-inf")  # so that the first events are flushed at once
        with self._one_line():
            folder.mkdir(parents=True, exist_ok=True)
            self._records = RecordWriter(str(self._path))
            self._write(Event(file_version="brain.Event:2"))
            start = SessionLog(status=SessionLog.START)
            self._write(Event(step=first + 1, session_log=start))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds scalars of a step, by name."""
        with self._one_line():
            for name, value in scalars.items():
                # TensorBoard turns odd characters into "_", so two odd names could become one.
                self._write(Event(step=step, summary=scalar(printable(name), value)))
            if self._records and time.monotonic() - self._flushed > self.FLUSH_SECONDS:
                self._records.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Writes what is left."""
        with self._one_line():
            if self._records:
                self._records.flush()
                self._records.close()
                self._records = None

    def _write(self, event: Event) -> None:
        if self._records:
            event.wall_time = time.time()
            self._records.write(event.SerializeToString())

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """Ends the writing where it fails."""
        try:
            yield
        except OSError as error:
            if self._records:
                # It tries to write what is left once more, and closes the file whatever happens.
                with contextlib.suppress(OSError):
                    self._records.close()
            self._records = None
            self._say(
                f"TensorBoard: cannot write {self._path} ({error.strerror or error}); "
                "the rest of this run is not written there"
            )
