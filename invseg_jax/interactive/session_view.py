"""What a session shows: masks, probabilities, label maps, what is confirmed, what comes next."""

from __future__ import annotations

import numpy as np

from invseg_jax.interactive.actions import Actions, stale
from invseg_jax.interactive.history import History
from invseg_jax.interactive.method import Method, SliceVolume
from invseg_jax.interactive.prompts import Prompt
from invseg_jax.interactive.session_image import SessionImage
from invseg_jax.interactive.slice_state import HALF, State, unpack


class SessionView:
    """The part of `Session` that changes nothing.

    Every reader takes the state once. So it sees the state before or after an action that another
    thread is at, and never one between.
    """

    def __init__(self, image: SessionImage, method: Method, labels: tuple[str, ...]) -> None:
        """Shows an image without any object yet.

        Args:
            image: with its place.
            method: makes masks from prompts.
            labels: the names of the objects.
        """
        self._image = image
        self._method = method
        self._actions = Actions(image.volume, method)
        self._state = State(labels, {})
        self._history = History()

    @property
    def volume(self) -> SliceVolume:
        """The image, slices first."""
        return self._image.volume

    @property
    def axis(self) -> int:
        """The axis of the file that counts the slices."""
        return self._image.axis

    @property
    def method(self) -> str:
        """The name of the method."""
        return self._method.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the objects; the first is label 1."""
        return self._state.labels

    def probabilities(self, label: int = 1) -> np.ndarray:
        """An object's probabilities.

        Returns:
            (slices, rows, columns) float32, 0 to 1 in steps of 1 / 255. A voxel belongs to the
            object above 0.5.

        Raises:
            UserError: there is no such label; so do all methods that take a label.
        """
        state = self._state
        return self._actions.probabilities(state, self._actions.label(state, label))

    def mask(self, index: int, label: int = 1) -> np.ndarray:
        """An object's mask in a slice: bool (rows, columns).

        Raises:
            UserError: there is no such slice or label.
        """
        state = self._state
        number = self._actions.label(state, label)
        return self._actions.mask(state, number, self._actions.index(index))

    def slice_map(self, index: int) -> np.ndarray:
        """The labels in a slice, as `label_map` has them: (rows, columns) uint8 or uint16.

        Raises:
            UserError: there is no such slice.
        """
        return self._slice_map(self._state, self._actions.index(index))

    def label_map(self) -> np.ndarray:
        """The labels on the file's own axes: uint8, or uint16 for more than 255 labels.

        Where objects overlap, the one with the higher probability has the voxel, and of several
        the lowest label.
        """
        return self._image.to_file(self._label_slices())

    def prompts(self, label: int = 1) -> dict[int, tuple[Prompt, ...]]:
        """The prompts of an object by slice, the oldest first; slices without any are left out."""
        state = self._state
        self._actions.label(state, label)
        of_label = sorted((z, one.prompts) for (of, z), one in state.slices.items() if of == label)
        return {z: prompts for z, prompts in of_label if prompts}

    def confirmed(self, label: int = 1) -> list[int]:
        """The numbers of the slices that a person made or confirmed, in order."""
        state = self._state
        return state.confirmed(self._actions.label(state, label))

    def stale(self, label: int = 1) -> list[int]:
        """The slices that `carry` would make anew, in order."""
        state = self._state
        return stale(state, self._actions.label(state, label))

    def quality(self, label: int = 1) -> np.ndarray:
        """The Dice that the method expects of each slice.

        Returns:
            (slices,) float64, 0 to 1; 1 for confirmed slices, NaN where it is not known.
        """
        state = self._state
        self._actions.label(state, label)
        found = np.full(self.volume.slices, np.nan)
        for (of, z), one in state.slices.items():
            if of == label and one.quality is not None:
                found[z] = one.quality
        return found

    def suggest(self, label: int = 1) -> int | None:
        """The slice that a person should correct next; None where nothing is left."""
        state = self._state
        self._actions.label(state, label)
        return self._method.suggest(
            self.volume,
            self._actions.confirmed_masks(state, label),
            self._actions.probabilities(state, label),
            self.quality(label),
        )

    @property
    def can_undo(self) -> bool:
        """Whether there is an action to take back."""
        return bool(self._history.done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an action that was taken back and can be done again."""
        return bool(self._history.undone)

    def _label_slices(self) -> np.ndarray:
        """The labels, slices first."""
        state = self._state
        found = np.zeros(self.volume.image.shape, _label_type(state))
        for index in {z for _, z in state.slices}:
            found[index] = self._slice_map(state, index)
        return found

    def _slice_map(self, state: State, index: int) -> np.ndarray:
        found = np.zeros(self.volume.shape, _label_type(state))
        highest = np.full(self.volume.shape, HALF, np.uint8)
        for label in range(1, len(state.labels) + 1):
            if values := state.at(label, index).values:
                steps = unpack(values, self.volume.shape)
                found[steps > highest] = label
                np.maximum(highest, steps, out=highest)
        return found


def _label_type(state: State) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if len(state.labels) < 256 else np.uint16
