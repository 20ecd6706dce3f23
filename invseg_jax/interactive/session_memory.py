"""How a session remembers: each action goes into the history and, with autosave, into the log."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from invseg_jax.files.atomic_file import write_atomically
from invseg_jax.files.json_values import JsonObject, as_json_values
from invseg_jax.interactive.actions import Progress
from invseg_jax.interactive.history import Made
from invseg_jax.interactive.method import Method
from invseg_jax.interactive.session_image import SessionImage
from invseg_jax.interactive.session_log import VERSION, Header, LogFile, action_line, header_line
from invseg_jax.interactive.session_view import SessionView


class SessionMemory(SessionView):
    """The part of `Session` that does actions, takes them back and logs them.

    An action is worked out, then written to the log, then done. So one that is cancelled or fails,
    and one that cannot be written, leaves the session as it was.
    """

    def __init__(self, image: SessionImage, method: Method, labels: tuple[str, ...]) -> None:
        """Begins without any action; the arguments are those of `SessionView`."""
        super().__init__(image, method, labels)
        self._first_labels = labels
        self._log: LogFile | None = None
        self._logged = 0  # actions in the log
        self._own_log: Path | None = None
        self._lock = threading.RLock()
        self._at_work = False

    def undo(self) -> bool:
        """Takes the last action back, with what was carried for it; False where there is none."""
        with self._working():
            if not self._history.done:
                return False
            self._write_line({"action": "undo"})
            self._state = self._history.undo(self._state)
            return True

    def redo(self) -> bool:
        """Does the action again that was taken back last; False where there is none."""
        with self._working():
            if not self._history.undone:
                return False
            self._write_line({"action": "redo"})
            self._state = self._history.redo(self._state)
            return True

    def write_log(self, path: str | Path) -> None:
        """Writes the log of the session, whole or not at all: all that leads to its state.

        Actions that were taken back, and that nothing can bring back, are left out.

        Args:
            path: of the log; an older file is replaced.

        Raises:
            UserError: the file cannot be written.
        """
        with self._lock:
            if self._log is not None and os.path.abspath(path) == str(self._log.path):
                return  # it is there
            write_atomically(Path(path), b"".join(self._lines()))

    def autosave(self, path: str | Path | None) -> None:
        """Writes the log now, and from now on a line for each action.

        The line is on the disk before the action returns, so nothing is lost when the program is
        killed. While it is on, no other session can write the same log.

        Args:
            path: of the log. It must not be there yet, or be the one that this session was resumed
                from. None turns it off.

        Raises:
            UserError: there is such a file, another session writes it, or it cannot be written.
        """
        with self._lock:
            file = None
            if path is not None:
                path = Path(os.path.abspath(path))
                if self._log is not None and self._log.path == path:
                    return
                lines = list(self._lines())
                file = LogFile(path, lines, replace=path == self._own_log)
                self._logged, self._own_log = len(lines) - 1, path
            if self._log is not None:
                self._log.close()
            self._log = file

    def _do(
        self,
        action: Mapping[str, object],
        made: Mapping[int, Made] | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Makes a step, logs it, and takes it."""
        with self._working():
            # As the log has it: what is replayed is what was done.
            plain = as_json_values(action)
            step = self._actions.step(self._state, plain, made, progress, cancelled)
            self._write_line(plain, step.made)
            self._history.add(step, joined=plain["action"] == "carry")
            self._state = self._state.changed(step.after, step.labels[1])

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """One action at a time; an action within another, from its `progress`, is a mistake."""
        with self._lock:
            if self._at_work:
                raise RuntimeError("an action of the session was called while another is at work")
            self._at_work = True
            try:
                yield
            finally:
                self._at_work = False

    def _write_line(self, action: JsonObject, made: Mapping[int, Made] | None = None) -> None:
        if self._log is not None:
            self._log.append(action_line(self._logged + 1, action, made or {}))
            self._logged += 1

    def _lines(self) -> Iterator[bytes]:
        """The log that leads to the session as it is, and to what can be redone."""
        names, axis = self._first_labels, self._image.axis
        yield header_line(Header(VERSION, self._image.digest, axis, names, self._method.name))
        number = 0
        for step in self._history.steps():
            number += 1
            yield action_line(number, step.action, step.made)
        for _ in self._history.undone:
            number += 1
            yield action_line(number, {"action": "undo"}, {})
