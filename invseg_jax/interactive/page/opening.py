"""Opens a case: a new session, the one of its log, or one that begins with a label map."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from invseg_jax.data.volumes.nifti import read_grid, read_volume
from invseg_jax.errors import UserError
from invseg_jax.interactive.method import Method
from invseg_jax.interactive.page.board import Board
from invseg_jax.interactive.page.cases import Case
from invseg_jax.interactive.page.wire import axis_codes, usual_window, volume_file
from invseg_jax.interactive.session import Session

MOST_LABELS = 64


@dataclass(frozen=True)
class Settings:
    """How sessions are begun.

    Attributes:
        method: makes the masks; None: the one that needs no network.
        axis: which array axis of the file counts the slices; None: the session chooses.
        names: of the labels at first.
        anew: whether a session that is there is put aside, for each case once.
    """

    method: Method | None = None
    axis: int | None = None
    names: tuple[str, ...] = ("object",)
    anew: bool = False


@dataclass(frozen=True)
class Opened:
    """An open case.

    Attributes:
        session: with its log.
        board: without the label map and the labels, which the desk puts up.
        file: the image as NIfTI for the page.
        saved: whether the label map on the disk is the session's.
    """

    session: Session
    board: Board
    file: bytes
    saved: bool


def open_case(
    case: Case, number: int, settings: Settings, say: Callable[[str], None], *, anew: bool
) -> Opened:
    """Opens a case. Its log is written from now on, and by no other server.

    Args:
        case: to be opened.
        number: of the case, for the board.
        settings: how sessions are begun.
        say: told in one line where the session comes from, unless it is new.
        anew: whether a log that is there is put aside. A label map that is there is then no part of
            the session either, and stays until another is saved in its place.

    Raises:
        UserError: the image, the log or the label map that is there cannot be used.
    """
    log = case.log
    if anew and log.exists():
        log.replace(log.with_name(f"{log.name}.{secrets.token_hex(4)}.old"))
    if log.exists():
        session = Session.resume(log, case.image, settings.method, say=say)
        say(f"{case.name}: goes on with the session in {log}")
    else:
        session = Session(case.image, settings.method, axis=settings.axis, labels=settings.names)
        if case.label.exists() and not anew:
            try:
                import_labels(session, case.label)
            except UserError as error:
                raise UserError(f"{error}; give another --label, or --anew") from error
            say(f"{case.name}: begins with the label map {case.label}")
    session.autosave(log)
    axis, volume = session.axis, session.volume
    _, _, affine = read_grid(case.image)
    turned = affine[:, [axis, *(other for other in range(3) if other != axis), 3]]
    board = Board(
        epoch=secrets.token_hex(8),
        version=0,
        case=number,
        volume=volume,
        codes=tuple(axis_codes(turned)),
        window=tuple(usual_window(volume.image)),
        layers=(),
        map=np.zeros(volume.image.shape, np.uint8),
        revisions=np.zeros(volume.slices, np.int64),
        method=session.method,
    )
    return Opened(session, board, volume_file(volume, turned), _is_saved(session, case.label))


def import_labels(session: Session, path: Path) -> None:
    """Sets a session's objects from a label map; labels that it does not have yet are added.

    Raises:
        UserError: the label map cannot be used; the session is as before.
    """
    highest = int(np.nan_to_num(read_volume(path).array).max(initial=0))
    if highest > MOST_LABELS:
        raise UserError(f"{path.name}: holds the label {highest}, and {MOST_LABELS} is the highest")
    added = 0
    try:
        while len(session.labels) < highest:
            session.add_label(_new_name(session.labels))
            added += 1
        session.import_labels(path)
    except UserError:
        for _ in range(added):
            session.undo()
        raise


def _new_name(names: tuple[str, ...]) -> str:
    """A name for one more label."""
    number = len(names) + 1
    while f"label {number}" in names:
        number += 1
    return f"label {number}"


def _is_saved(session: Session, label: Path) -> bool:
    if not session.can_undo or not label.exists():
        return False
    try:
        return np.array_equal(read_volume(label).array, session.label_map())
    except UserError:
        return False
