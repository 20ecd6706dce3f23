"""What a session knows of one slice of one object, in few bytes.

A slice's probabilities are kept in 255 steps and compressed: an empty slice takes nothing, a mask
some hundred bytes. A state is never changed, only replaced by another. So the steps of undo share
the slices that did not change, and no step needs a copy of a volume.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from invseg_jax.errors import UserError
from invseg_jax.interactive.prompts import Prompt

# Above this step a voxel belongs to the object: 128 / 255 is the first value above 0.5.
HALF = 127

# Which object, counted from 1, and which slice, counted from 0.
Key = tuple[int, int]


@dataclass(frozen=True)
class SliceState:
    """One slice of one object.

    Attributes:
        prompts: what was drawn on it, the oldest first.
        confirmed: whether a person looked at it: carrying leaves it as it is.
        stale: whether a slice near it has changed since it was made.
        values: the probabilities, as `pack` gives them.
        quality: the expected Dice, 0 to 1; None: unknown.
    """

    prompts: tuple[Prompt, ...] = ()
    confirmed: bool = False
    stale: bool = False
    values: bytes = b""
    quality: float | None = None


EMPTY = SliceState()


@dataclass(frozen=True)
class State:
    """All that a session knows.

    Attributes:
        labels: the names of the objects.
        slices: the slices that are not `EMPTY`.
    """

    labels: tuple[str, ...]
    slices: Mapping[Key, SliceState]

    def at(self, label: int, index: int) -> SliceState:
        """One slice of one object."""
        return self.slices.get((label, index), EMPTY)

    def confirmed(self, label: int) -> list[int]:
        """The numbers of an object's confirmed slices, in order."""
        slices = self.slices.items()
        return sorted(z for (of, z), state in slices if of == label and state.confirmed)

    def reach(self, label: int, index: int, slices: int) -> list[int]:
        """The slices that a correction of one slice reaches, in order; without the slice itself.

        They lie between the next confirmed slices on both sides, or the ends of the volume.
        """
        confirmed = self.confirmed(label)
        low = max((z for z in confirmed if z < index), default=-1)
        high = min((z for z in confirmed if z > index), default=slices)
        return [z for z in range(low + 1, high) if z != index]

    def changed(self, changes: Mapping[Key, SliceState], labels: tuple[str, ...]) -> State:
        """The state after some slices were replaced."""
        merged = {**self.slices, **changes}
        return State(labels, {key: state for key, state in merged.items() if state != EMPTY})


def pack(probabilities: np.ndarray) -> bytes:
    """Probabilities in few bytes.

    Args:
        probabilities: (rows, columns), 0 to 1, or bool.

    Returns:
        b"" where all are 0 after rounding to 255 steps. 0.5 is rounded down, so what is above 0.5
        stays above, and what is not stays below.
    """
    steps = np.ceil(np.asarray(probabilities, np.float64) * 255 - 0.5).clip(0, 255)
    steps = steps.astype(np.uint8)
    return zlib.compress(steps.tobytes(), 1) if steps.any() else b""


def unpack(values: bytes, shape: tuple[int, int]) -> np.ndarray:
    """The probabilities that were packed.

    Args:
        values: as `pack` gives them.
        shape: of a slice, (rows, columns).

    Returns:
        (rows, columns) uint8, in steps of 1 / 255.

    Raises:
        UserError: the bytes are not those of a slice of this shape.
    """
    size = shape[0] * shape[1]
    if not values:
        return np.zeros(shape, np.uint8)
    reader = zlib.decompressobj()
    try:
        # One byte more than there should be, and not as many as the bytes may claim.
        found = reader.decompress(values, size + 1)
    except zlib.error:
        found = b""
    if len(found) != size or not reader.eof:
        raise UserError(f"a slice of the log does not hold {shape[0]} x {shape[1]} probabilities")
    return np.frombuffer(found, np.uint8).reshape(shape)
