"""Undo and redo, without limit.

A step holds the slices that it changed, before and after. A slice that did not change is the same
object in all steps, so a step takes as many bytes as its changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from invseg_jax.files.json_values import JsonObject
from invseg_jax.interactive.slice_state import EMPTY, Key, SliceState, State


@dataclass(frozen=True)
class Made:
    """What a method made of one slice.

    Attributes:
        values: the probabilities, packed.
        quality: the expected Dice; None: unknown.
    """

    values: bytes
    quality: float | None


@dataclass(frozen=True)
class Step:
    """One action and what it changed.

    Attributes:
        action: in terms of JSON.
        made: what the method made for it, by slice.
        before: the changed slices as they were.
        after: the changed slices as they are.
        labels: the names of the objects before and after.
    """

    action: JsonObject
    made: Mapping[int, Made]
    before: Mapping[Key, SliceState]
    after: Mapping[Key, SliceState]
    labels: tuple[tuple[str, ...], tuple[str, ...]]

    @classmethod
    def of(
        cls,
        action: JsonObject,
        state: State,
        changes: Mapping[Key, SliceState],
        *,
        made: Mapping[int, Made] | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> Step:
        """The step from a state to the one with some slices replaced."""
        before = {key: state.slices.get(key, EMPTY) for key in changes}
        new = {key: after for key, after in changes.items() if after != before[key]}
        return cls(
            action=action,
            made=made or {},
            before={key: before[key] for key in new},
            after=new,
            labels=(state.labels, state.labels if labels is None else labels),
        )


@dataclass
class History:
    """The steps that were done, and those that were taken back.

    Attributes:
        done: groups of steps, the oldest first. Undo takes back a whole group: an action of a
            person, and what was carried for it.
        undone: groups that were taken back, the last one taken back at the end.
    """

    done: list[tuple[Step, ...]] = field(default_factory=list)
    undone: list[tuple[Step, ...]] = field(default_factory=list)

    def add(self, step: Step, *, joined: bool) -> None:
        """Adds a step. What was taken back can then no longer be redone.

        Args:
            step: what was done.
            joined: whether it is undone together with the step before.
        """
        self.undone.clear()
        group = self.done.pop() if joined and self.done else ()
        self.done.append((*group, step))

    def undo(self, state: State) -> State:
        """The state before the last group of steps."""
        group = self.done.pop()
        for step in reversed(group):
            state = state.changed(step.before, step.labels[0])
        self.undone.append(group)
        return state

    def redo(self, state: State) -> State:
        """The state after the group that was taken back last."""
        group = self.undone.pop()
        for step in group:
            state = state.changed(step.after, step.labels[1])
        self.done.append(group)
        return state

    def steps(self) -> Iterator[Step]:
        """All steps in the order of time, those that were taken back too."""
        for group in (*self.done, *reversed(self.undone)):
            yield from group
