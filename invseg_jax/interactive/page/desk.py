"""The one session that all tabs of the page see, and what they can do with it.

Every change is made by the worker's thread, one at a time. After each the desk puts up a board: an
unchanging account of the session. Requests read the board alone, so they are answered at once while
a change is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np

from invseg_jax.errors import UserError
from invseg_jax.interactive.page.board import Board, Job, layers_of
from invseg_jax.interactive.page.cases import Case
from invseg_jax.interactive.page.opening import (
    MOST_LABELS,
    Opened,
    Settings,
    import_labels,
    open_case,
)
from invseg_jax.interactive.page.worker import Change, Worker
from invseg_jax.interactive.prompts import Prompt
from invseg_jax.interactive.session import Session


class Desk:
    """The open case, its session, and the worker.

    Args:
        cases: the images, at least one; the first is opened.
        settings: how sessions are begun.
        say: told in one line what was resumed.

    Raises:
        UserError: the first image, or the log of its session, cannot be used.
    """

    def __init__(
        self, cases: Sequence[Case], settings: Settings, say: Callable[[str], None] = print
    ) -> None:
        """Opens the first case."""
        self.cases = tuple(cases)
        self._settings = settings
        self._say = say
        self._worker = Worker(self)
        self._put_aside: set[int] = set()
        self._take(self._load(0))

    @property
    def label_file(self) -> Path:
        """Where the open case's label map is saved."""
        return self.cases[self._case_number].label

    @property
    def log_file(self) -> Path:
        """Where the open case's actions are kept."""
        return self.cases[self._case_number].log

    @property
    def volume(self) -> tuple[str, bytes]:
        """The epoch of the open case, and its image as NIfTI."""
        return self._volume

    @property
    def board(self) -> Board:
        """The account of the session after the last job; with the progress of the present one."""
        return self._board

    def close(self) -> None:
        """Stops carrying, waits for the worker, and lets others open the session."""
        self._worker.close()
        self._session.autosave(None)

    def cancel(self) -> None:
        """Stops carrying after the slice at hand, for good; what was carried before stays."""
        self._worker.cancel()

    # The changes. Each returns at once; the future is done when the change itself is, with the
    # board as it is then, and carrying may go on.

    def prompt(
        self, prompt: Prompt, index: int, label: int, *, carry: bool = True
    ) -> Future[Board]:
        """Adds a prompt to a slice and segments the slice."""

        def change(session: Session) -> None:
            session.prompt(prompt, index, label, carry=False)

        return self._change("segmenting", change, label if carry else None)

    def confirm(self, index: int, label: int, *, carry: bool = True) -> Future[Board]:
        """Says that a slice is right as it is."""
        return self._change(
            "confirming", lambda session: session.confirm(index, label), label if carry else None
        )

    def paint(
        self, mask: np.ndarray, index: int, label: int, *, carry: bool = True
    ) -> Future[Board]:
        """Sets a slice by hand."""
        return self._change(
            "painting", lambda session: session.paint(mask, index, label), label if carry else None
        )

    def carry(self, label: int) -> Future[Board]:
        """Carries the confirmed slices of a label into the others."""
        return self._change("carrying", lambda session: None, label)

    def clear(self, label: int | None) -> Future[Board]:
        """Resets one label, or all."""
        return self._change("resetting", lambda session: session.clear(label), forget=True)

    def undo(self) -> Future[Board]:
        """Takes the last action back."""
        return self._change("undoing", lambda session: session.undo(), forget=True)

    def redo(self) -> Future[Board]:
        """Does an action that was taken back once more."""
        return self._change("redoing", lambda session: session.redo(), forget=True)

    def add_label(self, name: str) -> Future[Board]:
        """Adds a label at the end."""
        if len(self._board.layers) >= MOST_LABELS:
            raise UserError(f"there can be at most {MOST_LABELS} labels")
        return self._change("adding a label", lambda session: session.add_label(name))

    def import_labels(self, path: Path) -> Future[Board]:
        """Reads a label map on the image's grid in; the file is deleted afterwards.

        Labels that the session does not have yet are added.
        """

        def change(session: Session) -> None:
            try:
                import_labels(session, path)
            finally:
                path.unlink(missing_ok=True)

        return self._change("importing", change, forget=True)

    def save(self) -> Future[Board]:
        """Writes the label map to the one file that it belongs to."""

        def change(session: Session) -> None:
            session.save(self.label_file)
            self._saved = self._edits

        return self._change("saving", change, edits=False)

    def open(self, number: int) -> Future[Board]:
        """Opens another case; the session of this one stays in its log."""
        return self._change("opening", lambda session: self._open(number), forget=True, edits=False)

    def slices(self, since: int) -> tuple[Board, list[int], list[np.ndarray]]:
        """The slices of the label map that changed after a revision.

        Args:
            since: a revision that an earlier board had; 0: all slices that ever held a label.

        Returns:
            The board whose revision they bring the page to, their numbers, and (rows, columns)
            uint8 each.
        """
        board = self._board
        changed = [int(index) for index in np.flatnonzero(board.revisions > since)]
        return board, changed, [board.map[index] for index in changed]

    def _change(
        self,
        what: str,
        change: Callable[[Session], object],
        carry: int | None = None,
        *,
        forget: bool = False,
        edits: bool = True,
    ) -> Future[Board]:
        def make() -> None:
            change(self._session)
            self._edits += edits

        return self._worker.submit(Change(what, make, carry, forget))

    # What the worker calls, in its thread.

    def show(self, job: Job) -> None:
        """Says what is done at this moment."""
        self._board = replace(self._board, job=job, version=self._board.version + 1, error=None)

    def carry_now(self, label: int, cancelled: Callable[[], bool]) -> None:
        """Carries a label."""
        self._session.carry(
            label,
            progress=lambda done, total: self.show(Job("carrying", done, total)),
            cancelled=cancelled,
        )
        self._edits += 1

    def put_up(self, job: Job | None, error: str | None = None) -> Board:
        """Makes the board anew: compares the label map with the one before."""
        session, board = self._session, self._board
        turned = np.moveaxis(session.label_map(), session.axis, 0).astype(np.uint8)
        changed = (turned != board.map).any(axis=(1, 2))
        revision = board.revision + bool(changed.any())
        self._board = replace(
            board,
            version=board.version + 1,
            job=job,
            layers=tuple(layers_of(session, self._worker.to_carry)),
            map=turned,
            revision=revision,
            revisions=np.where(changed, revision, board.revisions),
            can_undo=session.can_undo,
            can_redo=session.can_redo,
            saved=self._saved == self._edits,
            error=error,
        )
        return self._board

    def _open(self, number: int) -> None:
        if number == self._case_number:
            return
        opened = self._load(number)
        self._session.autosave(None)  # lets another server open it
        self._take(opened, self._board.version)

    def _load(self, number: int) -> Opened:
        """A case with its session, ready to be taken; the open one stays as it is until then."""
        anew = self._settings.anew and number not in self._put_aside
        opened = open_case(self.cases[number], number, self._settings, self._say, anew=anew)
        self._put_aside.add(number)
        return opened

    def _take(self, opened: Opened, version: int = 0) -> None:
        self._session, self._case_number = opened.session, opened.board.case
        self._edits, self._saved = 0, 0 if opened.saved else None
        self._volume = opened.board.epoch, opened.file
        self._board = replace(opened.board, version=version)
        self.put_up(None)
