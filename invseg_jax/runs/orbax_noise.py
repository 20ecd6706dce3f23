"""Mutes Orbax while it reads and writes, so that one line can say what is wrong."""

import contextlib
import gc
import inspect
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from absl import logging as absl_logging

# When one array cannot be read or written, Orbax forgets the others.
_UNAWAITED = r"coroutine '.*' was never awaited"


@dataclass
class Noise:
    """A `sys.unraisablehook` that keeps back the reports which follow from a failure of Orbax.

    They are about calls into a closed event loop, and coroutines that are thrown away.

    Attributes:
        before: the hook that was set before; it gets all other reports.
        last: when a report was kept back last, in seconds of `time.monotonic`.
    """

    before: "Callable[[sys.UnraisableHookArgs], object]"
    last: float = 0.0

    def __call__(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Takes one report."""
        closed = str(unraisable.exc_value) == "Event loop is closed"
        if closed or inspect.iscoroutine(unraisable.object):
            self.last = time.monotonic()
        else:
            self.before(unraisable)

    def fade(self, silence: float = 0.15, longest: float = 3.0) -> None:
        """Waits until TensorStore's threads have reported all that follows from a failure.

        Args:
            silence: seconds without a report, after which no more are expected. The threads of a
                machine that is busy take their time.
            longest: seconds to wait at most.
        """
        begun = self.last = time.monotonic()
        while time.monotonic() < min(self.last + silence, begun + longest):
            time.sleep(silence / 5)
        gc.collect()  # asyncio reports a failure that nobody asked for when it is thrown away


@contextlib.contextmanager
def quiet() -> Iterator[Noise]:
    """Mutes Orbax while the block runs, and puts back what it changes of the process.

    Orbax logs each exception with its traceback before it raises it, in every thread on the way.
    When one array cannot be read, Orbax closes its event loop, and TensorStore's threads still
    report to that loop about all other arrays. Then call `fade` within the block, once the
    exception is gone.
    """
    asyncio_log = logging.getLogger("asyncio")  # "exception was never retrieved"
    before = absl_logging.get_verbosity(), asyncio_log.level
    absl_log = logging.getLogger("absl")
    absl_level = absl_log.level
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
            absl_log.setLevel(absl_level)  # the verbosity sets a level where there was none
            asyncio_log.setLevel(before[1])
            if sys.unraisablehook is noise:
                sys.unraisablehook = noise.before
