"""Keeps one line that says what is wrong from drowning in what Orbax prints."""

import contextlib
import gc
import inspect
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from absl import logging as absl_logging

# When one array cannot be read or written, Orbax forgets the others.
_UNAWAITED = r"coroutine '.*' was never awaited"


@dataclass
class Noise:
    """What is muted; as `sys.unraisablehook`, it keeps back what a failure of Orbax leaves behind.

    These are calls into a closed event loop, and coroutines that are thrown away.

    Attributes:
        before: the hook that it stands for; it is given everything else.
        last: when something was kept back, in seconds of `time.monotonic`.
    """

    before: Callable[[Any], Any]
    last: float = 0.0

    def __call__(self, unraisable: Any) -> None:
        """Takes one report."""
        closed = str(unraisable.exc_value) == "Event loop is closed"
        if closed or inspect.iscoroutine(unraisable.object):
            self.last = time.monotonic()
        else:
            self.before(unraisable)

    def fade(self, silence: float = 0.05, longest: float = 1.0) -> None:
        """Waits until TensorStore's threads have reported all that follows from a failure.

        Args:
            silence: seconds without a report after which there is none to come.
            longest: seconds to wait at most.
        """
        begun = self.last = time.monotonic()
        while time.monotonic() < min(self.last + silence, begun + longest):
            time.sleep(silence / 5)
        gc.collect()  # asyncio reports a failure that nobody asked for when it is thrown away


@contextlib.contextmanager
def quiet() -> Iterator[Noise]:
    """Mutes Orbax while the block runs, and puts back what it changes of the process.

    Orbax logs what it raises before it raises it, with the traceback, in each thread that it
    passes. When one array cannot be read it closes its event loop; TensorStore's threads still
    report to it what becomes of all others. Where that happens, let it `fade` within the block,
    and after the exception is gone.
    """
    asyncio_log = logging.getLogger("asyncio")  # "exception was never retrieved"
    before = absl_logging.get_verbosity(), asyncio_log.level
    noise = Noise(sys.unraisablehook)
    absl_logging.set_verbosity(absl_logging.FATAL)
    asyncio_log.setLevel(logging.CRITICAL)
    sys.unraisablehook = noise
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _UNAWAITED, RuntimeWarning)
        try:
            yield noise
        finally:
            absl_logging.set_verbosity(before[0])
            asyncio_log.setLevel(before[1])
            if sys.unraisablehook is noise:
                sys.unraisablehook = noise.before
