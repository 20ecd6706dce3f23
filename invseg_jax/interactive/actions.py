"""What a person can do in a session, each action as a function of the state.

An action is a JSON object, so that a log can hold it. The same action on the same state gives the
same next state, bit for bit, as far as the method's arithmetic does.

    prompt       a prompt on a slice, and what it is carried into
    carry        what earlier actions left to carry
    confirm      a slice is right as it is
    paint        a slice is set by hand
    import       whole objects are set from a label map
    clear        one object, or all, are emptied
    add_label    there is one more object
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from invseg_jax.data.volumes.nifti import MAX_LABEL
from invseg_jax.errors import UserError
from invseg_jax.files.json_values import JsonObject
from invseg_jax.interactive.history import Made, Step
from invseg_jax.interactive.method import Method, SliceVolume
from invseg_jax.interactive.prompts import Prompt, Scribble, from_json
from invseg_jax.interactive.run_lengths import mask_of
from invseg_jax.interactive.slice_state import (
    EMPTY,
    HALF,
    Key,
    SliceState,
    State,
    pack,
    unpack,
)

Progress = Callable[[int, int], None]


class Cancelled(Exception):
    """The work was stopped because the caller asked for it; the state is as before."""


@dataclass(frozen=True)
class Actions:
    """Makes steps of actions.

    Attributes:
        volume: the image.
        method: makes masks from prompts.
    """

    volume: SliceVolume
    method: Method

    def step(
        self,
        state: State,
        action: JsonObject,
        made: Mapping[int, Made] | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Step:
        """What an action changes.

        Args:
            state: before the action.
            action: in terms of JSON.
            made: what the method made when the action was first done; None: it is made now.
            progress: told after each slice how many of how many are done.
            cancelled: asked before each slice whether to stop.

        Raises:
            UserError: the action does not fit the image or the labels.
            Cancelled: `cancelled` said so.
        """
        watch = _Watch(progress, cancelled)
        match action.get("action"):
            case "prompt":
                return self._prompt(state, action, made, watch)
            case "carry":
                return self._carry(state, action, made, watch)
            case "confirm":
                return self._confirm(state, action)
            case "paint":
                return self._paint(state, action)
            case "import":
                return self._import(state, action)
            case "clear":
                labels = self._labels(state, action)
                gone = {key: EMPTY for key in state.slices if key[0] in labels}
                return Step.of(action, state, gone)
            case "add_label":
                name = checked_name(action.get("name"), state.labels)
                return Step.of(action, state, {}, labels=(*state.labels, name))
        raise UserError(f"there is no action {action.get('action')!r}")

    def label(self, state: State, label: object) -> int:
        """The label, if there is one.

        Raises:
            UserError: there is no such label.
        """
        number = whole(label)
        if not 1 <= number <= len(state.labels):
            raise UserError(
                f"there is no label {number}; there are labels 1 to {len(state.labels)}"
            )
        return number

    def index(self, index: object) -> int:
        """The number of a slice, if there is one.

        Raises:
            UserError: there is no such slice.
        """
        number, last = whole(index), self.volume.slices - 1
        if not 0 <= number <= last:
            raise UserError(f"there is no slice {number}; the image has slices 0 to {last}")
        return number

    def probabilities(self, state: State, label: int) -> np.ndarray:
        """An object's probabilities: (slices, rows, columns) float32."""
        found = np.zeros(self.volume.image.shape, np.float32)
        for (of, index), one in state.slices.items():
            if of == label and one.values:
                np.divide(unpack(one.values, self.volume.shape), np.float32(255), out=found[index])
        return found

    def confirmed_masks(self, state: State, label: int) -> dict[int, np.ndarray]:
        """The bool masks (rows, columns) of an object's confirmed slices, by slice."""
        return {z: self.mask(state, label, z) for z in state.confirmed(label)}

    def mask(self, state: State, label: int, index: int) -> np.ndarray:
        """An object's mask in a slice: bool (rows, columns)."""
        return unpack(state.at(label, index).values, self.volume.shape) > HALF

    def _prompt(
        self, state: State, action: JsonObject, made: Mapping[int, Made] | None, watch: _Watch
    ) -> Step:
        label, index = self._place(state, action)
        prompt = checked_prompt(action.get("prompt"), self.volume.shape)
        old = state.at(label, index)
        prompts = (*old.prompts, prompt)
        reach = state.reach(label, index, self.volume.slices)
        carry = action.get("carry")
        if not isinstance(carry, bool):
            raise UserError(f"carry must be true or false, not {carry!r}")
        wanted = [index, *reach] if carry else [index]
        if made is None:
            watch.ask()
            before = None
            if old.values:
                before = unpack(old.values, self.volume.shape) / np.float32(255)
            segmented = self.method.segment(self.volume, index, prompts, before)
            made = {index: Made(pack(self._checked(segmented)), 1.0)}
            watch.done(1, len(wanted))
            if carry and reach:
                now = state.changed({(label, index): _confirmed(made[index].values)}, state.labels)
                made.update(self._carried(now, label, reach, watch, 1))
        _refuse_other_slices(made, wanted)
        changes: dict[Key, SliceState] = {
            (label, index): _confirmed(made[index].values, prompts),
        }
        for z in reach:
            one = state.at(label, z)
            changes[label, z] = _remade(one, made[z]) if carry else replace(one, stale=True)
        return Step.of(action, state, changes, made=made)

    def _carry(
        self, state: State, action: JsonObject, made: Mapping[int, Made] | None, watch: _Watch
    ) -> Step:
        label = self.label(state, action.get("label"))
        wanted = stale(state, label)
        if made is None:
            made = self._carried(state, label, wanted, watch, 0) if wanted else {}
        _refuse_other_slices(made, wanted)
        changes = {(label, z): _remade(state.at(label, z), made[z]) for z in wanted}
        return Step.of(action, state, changes, made=made)

    def _confirm(self, state: State, action: JsonObject) -> Step:
        label, index = self._place(state, action)
        old = state.at(label, index)
        changes = {} if old.confirmed else self._stale_around(state, label, index)
        changes[label, index] = _confirmed(old.values, old.prompts)
        return Step.of(action, state, changes)

    def _paint(self, state: State, action: JsonObject) -> Step:
        label, index = self._place(state, action)
        mask = mask_of(action.get("mask"), self.volume.shape)
        changes = self._stale_around(state, label, index)
        changes[label, index] = _confirmed(pack(mask))
        return Step.of(action, state, changes)

    def _import(self, state: State, action: JsonObject) -> Step:
        masks = action.get("masks")
        if not isinstance(masks, Sequence) or isinstance(masks, str):
            raise UserError("an import must be a list of masks")
        changes = dict.fromkeys(state.slices, EMPTY)
        for item in masks:
            if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 3:
                raise UserError("a mask of an import must be a label, a slice and run lengths")
            label, index = self.label(state, item[0]), self.index(item[1])
            changes[label, index] = _confirmed(pack(mask_of(item[2], self.volume.shape)))
        return Step.of(action, state, changes)

    def _stale_around(self, state: State, label: int, index: int) -> dict[Key, SliceState]:
        reach = state.reach(label, index, self.volume.slices)
        return {(label, z): replace(state.at(label, z), stale=True) for z in reach}

    def _carried(
        self, state: State, label: int, wanted: Sequence[int], watch: _Watch, done: int
    ) -> dict[int, Made]:
        """Carries the confirmed slices of an object into others."""
        total, made = done + len(wanted), dict[int, Made]()
        watch.ask()
        carried = self.method.carry(
            self.volume,
            self.confirmed_masks(state, label),
            tuple(wanted),
            self.probabilities(state, label),
        )
        for one in carried:
            if one.index in made or one.index not in wanted:
                raise ValueError(f"{self.method.name} carried into slice {one.index}, unasked")
            quality = None if math.isnan(one.quality) else min(max(float(one.quality), 0.0), 1.0)
            made[one.index] = Made(pack(self._checked(one.probabilities)), quality)
            watch.done(done + len(made), total)
            if len(made) < len(wanted):
                watch.ask()
        if len(made) < len(wanted):
            raise ValueError(f"{self.method.name} carried into {len(made)} of {len(wanted)} slices")
        return {z: made[z] for z in sorted(made)}

    def _checked(self, probabilities: np.ndarray) -> np.ndarray:
        if probabilities.shape != self.volume.shape or not np.isfinite(probabilities).all():
            raise ValueError(
                f"{self.method.name} gave an array {probabilities.shape} for a slice of "
                f"{self.volume.shape}, or one that is not finite"
            )
        return probabilities

    def _place(self, state: State, action: JsonObject) -> Key:
        return self.label(state, action.get("label")), self.index(action.get("index"))

    def _labels(self, state: State, action: JsonObject) -> Sequence[int]:
        if action.get("label") is None:
            return range(1, len(state.labels) + 1)
        return [self.label(state, action.get("label"))]


@dataclass(frozen=True)
class _Watch:
    """Who is told of the progress, and asked whether to stop."""

    progress: Progress | None
    cancelled: Callable[[], bool] | None

    def ask(self) -> None:
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("stopped; the session is as it was before")

    def done(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)


def whole(number: object) -> int:
    """A whole number of Python, from one of Python or NumPy.

    Raises:
        UserError: the value is not a whole number.
    """
    try:
        if not isinstance(number, bool | np.bool_):
            return operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise UserError(f"slices and labels are whole numbers, not {number!r:.80}")


def stale(state: State, label: int) -> list[int]:
    """The slices of an object that are left to carry, in order."""
    slices = {z: one for (of, z), one in state.slices.items() if of == label}
    return sorted(z for z, one in slices.items() if one.stale and not one.confirmed)


def checked_name(name: object, others: Sequence[str] = ()) -> str:
    """The name of a new label.

    Raises:
        UserError: it is no text, has control characters, or is taken; or there are too many labels.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > 100:
        raise UserError(f"a label's name is a text of 1 to 100 characters, not {name!r:.120}")
    if name in others:
        raise UserError(f"there is a label {name!r} already; give another name")
    if len(others) >= MAX_LABEL:
        raise UserError(f"there are {MAX_LABEL} labels already, and no label map holds more")
    return name


def checked_prompt(values: object, shape: tuple[int, int]) -> Prompt:
    """The prompt that a JSON object describes, if it fits a slice.

    Raises:
        UserError: the object describes no prompt, or one that lies outside of the slice or reaches
            far beyond it.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"a prompt must be an object, not {values!r:.80}")
    prompt = from_json(values)
    longest, size = max(shape), f"a slice of {shape[0]} x {shape[1]} voxels"
    low, high = prompt.bounds
    if any(b < -0.5 or a > n - 0.5 for a, b, n in zip(low, high, shape, strict=True)):
        raise UserError(f"{prompt.kind}: lies outside of {size}")
    if any(a < -longest or b > n + longest for a, b, n in zip(low, high, shape, strict=True)):
        raise UserError(f"{prompt.kind}: a point lies far outside of {size}")
    if isinstance(prompt, Scribble) and prompt.radius > longest:
        raise UserError(f"{prompt.kind}: is wider than {size}")
    return prompt


def _confirmed(values: bytes, prompts: tuple[Prompt, ...] = ()) -> SliceState:
    return SliceState(prompts, confirmed=True, values=values, quality=1.0)


def _remade(old: SliceState, made: Made) -> SliceState:
    return replace(old, stale=False, values=made.values, quality=made.quality)


def _refuse_other_slices(made: Mapping[int, Made], wanted: Sequence[int]) -> None:
    if set(made) != set(wanted):
        raise UserError("what was made for this action is not of the slices that it reaches")
