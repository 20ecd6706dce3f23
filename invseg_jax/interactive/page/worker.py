"""The one thread that changes the session: a change, then what is to be carried for it.

A new change may come while slices are carried: the carrying then stops between two slices, and
begins again after the change. A change that comes while another change is made is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from invseg_jax.errors import UserError
from invseg_jax.interactive.page.board import Board, Job
from invseg_jax.interactive.session import Cancelled


class Busy(UserError):
    """Says that another change is being made at this moment."""


@dataclass(frozen=True)
class Change:
    """One change of the session.

    Attributes:
        what: in a word, as "segmenting".
        make: does it.
        carry: the label to carry afterwards; None: none.
        forget: whether what is still to be carried is left as it is.
    """

    what: str
    make: Callable[[], object]
    carry: int | None = None
    forget: bool = False


class Desk(Protocol):
    """What the worker asks of the desk, all in its thread."""

    def show(self, job: Job) -> None:
        """Says what is done at this moment."""
        ...

    def put_up(self, job: Job | None, error: str | None = None) -> Board:
        """Makes the board anew after a change."""
        ...

    def carry_now(self, label: int, cancelled: Callable[[], bool]) -> None:
        """Carries a label; raises `Cancelled` where it is told to stop."""
        ...


class Worker:
    """Makes changes one after another.

    Args:
        desk: whose session is changed.
    """

    def __init__(self, desk: Desk) -> None:
        """Starts nothing: the thread begins with the first change."""
        self._desk = desk
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._lock = threading.Lock()
        self._stop = threading.Event()  # of the carrying
        self._to_carry: list[int] = []
        self._changing: str | None = None

    @property
    def to_carry(self) -> tuple[int, ...]:
        """The labels that are still to be carried."""
        return tuple(self._to_carry)

    def close(self) -> None:
        """Stops carrying and waits for the thread."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def cancel(self) -> None:
        """Stops carrying after the slice at hand, for good; what was carried before stays."""
        with self._lock:
            self._to_carry.clear()
            self._stop.set()

    def submit(self, change: Change) -> Future[Board]:
        """Takes a change on, and returns at once.

        Returns:
            Done when the change itself is, with the board as it is then; carrying may go on.

        Raises:
            Busy: another change is being made.
        """
        with self._lock:
            if self._changing is not None:
                raise Busy(f"the last action is not done yet ({self._changing}); try again soon")
            done: Future[Board] = Future()
            done.set_running_or_notify_cancel()  # a page that goes away cancels nothing
            try:
                self._pool.submit(self._work, change, done)
            except RuntimeError:  # shut down
                raise Busy("the server is about to end") from None
            self._changing = change.what
            self._stop.set()
        return done

    def _work(self, change: Change, done: Future[Board]) -> None:
        try:
            board = self._make(change)
        except BaseException as error:  # noqa: B036 - goes to whoever waits for the change
            done.set_exception(error)
        else:
            done.set_result(board)
        error = None
        try:
            self._carry()
        except UserError as fault:
            error = str(fault)
        except Exception as fault:
            error = f"carrying failed: {fault!r}"
        if error is not None:
            with self._lock:
                self._to_carry.clear()
        self._desk.put_up(None, error)

    def _make(self, change: Change) -> Board:
        """The change itself; the next one is taken on as soon as it is made."""
        made = False
        try:
            self._desk.show(Job(change.what))
            change.make()
            made = True
        finally:
            with self._lock:
                if change.forget:
                    self._to_carry.clear()
                if made and change.carry is not None and change.carry not in self._to_carry:
                    self._to_carry.append(change.carry)
                self._stop.clear()
                self._changing = None
        return self._desk.put_up(Job("carrying", 0, 1) if self._to_carry else None)

    def _carry(self) -> None:
        while True:
            with self._lock:
                if not self._to_carry or self._stop.is_set():
                    return
                label = self._to_carry[0]
            try:
                self._desk.carry_now(label, self._stop.is_set)
            except Cancelled:
                return
            with self._lock:
                if label in self._to_carry:
                    self._to_carry.remove(label)
