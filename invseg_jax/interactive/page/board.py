"""The account of a session that the page is shown: made once after each job, never changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from invseg_jax.files.json_values import JsonObject, as_json_values
from invseg_jax.interactive.method import SliceVolume
from invseg_jax.interactive.page.cases import Case
from invseg_jax.interactive.session import Session


@dataclass(frozen=True)
class Job:
    """What the worker does at this moment.

    Attributes:
        what: in a word, as "segmenting".
        done: how many slices are done.
        total: of how many; None where that is not counted.
    """

    what: str
    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class Layer:
    """One label.

    Attributes:
        name: as the user gave it.
        confirmed: the slices that a person confirmed.
        quality: (slices,) the expected Dice; NaN: unknown.
        stale: the slices that carrying would make anew.
        suggested: the slice to look at next; None: none.
        prompts: what was drawn, by slice, in terms of JSON.
    """

    name: str
    confirmed: tuple[int, ...]
    quality: tuple[float, ...]
    stale: tuple[int, ...]
    suggested: int | None
    prompts: dict[int, list[JsonObject]]


@dataclass(frozen=True, eq=False)
class Board:
    """All that the page shows.

    Attributes:
        epoch: a random name of this opening of this case; requests with another are refused.
        version: grows with every change of the board.
        case: number of the open case.
        volume: the image.
        codes: towards which side slices, rows and columns run, of R L A P S I.
        window: the intensities that are black and white at first.
        layers: the labels in their order.
        map: (slices, rows, columns) uint8, the label map.
        revisions: (slices,) at which revision each slice changed last; 0: never.
        revision: of the label map as a whole.
        job: what the worker does; None: nothing.
        error: what went wrong after the change itself, in one line.
        can_undo: whether there is an action to take back.
        can_redo: whether there is one to do again.
        saved: whether the label map on the disk is this one.
        method: what makes the masks.
    """

    epoch: str
    version: int
    case: int
    volume: SliceVolume
    codes: tuple[str, ...]
    window: tuple[float, ...]
    layers: tuple[Layer, ...]
    map: np.ndarray
    revisions: np.ndarray
    revision: int = 0
    job: Job | None = None
    error: str | None = None
    can_undo: bool = False
    can_redo: bool = False
    saved: bool = False
    method: str = ""

    def to_json(self, cases: Sequence[Case]) -> JsonObject:
        """The board in terms of JSON, without the label map.

        Args:
            cases: all of them; the page gets their names, never a path.
        """
        job = self.job
        return {
            "epoch": self.epoch,
            "version": self.version,
            "case": self.case,
            "cases": [case.name for case in cases],
            "file": cases[self.case].label.name,
            "shape": list(self.volume.image.shape),
            "spacing": [float(value) for value in self.volume.spacing],
            "codes": list(self.codes),
            "window": list(self.window),
            "labels": [_layer_json(layer) for layer in self.layers],
            "revision": self.revision,
            "job": None
            if job is None
            else {"what": job.what, "done": job.done, "total": job.total},
            "error": self.error,
            "can_undo": self.can_undo,
            "can_redo": self.can_redo,
            "saved": self.saved,
            "method": self.method,
        }


def layers_of(session: Session, to_carry: Sequence[int] = ()) -> Iterator[Layer]:
    """The labels of a session, in their order.

    Args:
        session: to be shown.
        to_carry: labels that are about to be carried. What to look at next is known after that.
    """
    for label, name in enumerate(session.labels, 1):
        asked = label not in to_carry and session.confirmed(label)
        yield Layer(
            name=name,
            confirmed=tuple(session.confirmed(label)),
            quality=tuple(float(value) for value in session.quality(label)),
            stale=tuple(session.stale(label)),
            suggested=session.suggest(label) if asked else None,
            prompts={
                index: [as_json_values(prompt.to_json()) for prompt in prompts]
                for index, prompts in session.prompts(label).items()
            },
        )


def _layer_json(layer: Layer) -> JsonObject:
    return {
        "name": layer.name,
        "confirmed": list(layer.confirmed),
        "quality": [round(q, 3) if math.isfinite(q) else None for q in layer.quality],
        "stale": list(layer.stale),
        "suggested": layer.suggested,
        "prompts": {str(index): prompts for index, prompts in layer.prompts.items()},
    }
