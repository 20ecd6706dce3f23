"""A polite request to stop: SIGTERM, as schedulers send it before they take a machine away."""

import signal
import threading


class StopRequest:
    """Turns SIGTERM into a flag that the training loop reads between two steps.

    Use as a context manager; outside of it, and in other threads than the main one, the signal does
    what it did before.

    Attributes:
        asked: whether the signal has come.
    """

    # What a shell reports for a process that SIGTERM ended.
    EXIT_STATUS = 128 + signal.SIGTERM

    def __init__(self):
        """Nothing has been asked yet."""
        self.asked = False

    def __enter__(self) -> "StopRequest":
        """Takes over the signal."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *exception) -> None:
        """Gives the signal back."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, *_) -> None:
        self.asked = True
