"""A profile of a few training steps: where the time goes, and what fills the memory.

RUN/profile/plugins/profile/from-step-N/    the trace, for XProf (or TensorBoard with its plugin)
RUN/profile/memory.prof                     the arrays and programs on the devices, for pprof
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from jax.profiler import ProfileOptions, StepTraceAnnotation, TraceAnnotation

from invseg_jax.errors import UserError


def parse_window(text: str | None, steps: int) -> range:
    """Reads START:STOP, the steps from START to STOP - 1, counted from 0; nothing for None.

    Args:
        text: what the user gave.
        steps: steps of the run.

    Raises:
        UserError: it is of another form, empty, or beyond the end of the run.
    """
    if text is None:
        return range(0)
    match = re.fullmatch(r"(\d+):(\d+)", text, re.ASCII)
    if match is None:
        raise UserError(f"--profile {text!r}: give two step numbers as START:STOP, such as 10:13")
    window = range(int(match[1]), int(match[2]))
    if not window:
        raise UserError(f"--profile {text} is empty; START must be less than STOP")
    if window.stop > steps:
        raise UserError(
            f"--profile {text} goes beyond the run's {steps} steps; STOP is at most {steps}"
        )
    return window


class Profile:
    """Traces the steps of a window; outside of it, it costs nothing.

    Use as a context manager around the training loop: a trace that is still open when the loop ends
    early (stopped, resumed, failed) is closed, and holds the steps that were taken. Within the
    window each step is waited for, so that what the devices do lies below the step that it belongs
    to; otherwise the host runs ahead of them.
    """

    def __init__(self, window: range, folder: Path, say: Callable[[str], None], first: int = 0):
        """Traces nothing yet.

        Args:
            window: the steps, see `parse_window`.
            folder: receives the files; made when the first traced step begins.
            say: told in a few lines where the files are.
            first: the step that the loop begins with.
        """
        self._window, self._folder, self._say = window, folder, say
        self._traced: list[int] = []
        if window and window.stop <= first:
            say(f"profile: step {window[-1]} is behind already; nothing is traced")

    def __enter__(self) -> "Profile":
        """Returns itself."""
        return self

    def __exit__(self, *exception) -> None:
        """Closes a trace that is still open."""
        if self._traced:
            self._close()

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Marks everything in it as one step, and traces it where it belongs to the window."""
        if number not in self._window:
            yield
            return
        if not self._traced:
            self._open(number)
        self._traced.append(number)
        with StepTraceAnnotation("train", step_num=number):
            yield
            with self.phase("devices at work"):
                _wait_for_devices()
        if number + 1 == self._window.stop:
            self._close()

    def phase(self, name: str) -> TraceAnnotation:
        """A context manager that names a part of a step."""
        return TraceAnnotation(name)

    def _open(self, number: int) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to {self._folder}: {error.strerror}") from error
        _wait_for_devices()  # what was begun before belongs to no traced step
        options = ProfileOptions()
        options.python_tracer_level = 0  # every Python call would hide the phases
        options.session_id = f"from-step-{number}"
        jax.profiler.start_trace(self._folder, profiler_options=options)

    def _close(self) -> None:
        first, last = self._traced[0], self._traced[-1]
        self._traced.clear()
        memory = self._folder / "memory.prof"
        try:
            try:
                # The state and the last batch are still alive, in the loop.
                jax.profiler.save_device_memory_profile(str(memory))
            finally:
                jax.profiler.stop_trace()
        except (OSError, RuntimeError) as error:
            # Not worth the training: a full disk, above all.
            self._say(f"profile: cannot be written to {self._folder}: {error}")
            return
        self._say(f"profile: steps {first} to {last} are in {self._folder}")
        self._say(
            f"  time:   pip install xprof; xprof --port=8791 {self._folder}; then open "
            "http://localhost:8791"
        )
        self._say(f"  memory: npx speedscope {memory}")


def _wait_for_devices() -> None:
    jax.block_until_ready(jax.live_arrays())
