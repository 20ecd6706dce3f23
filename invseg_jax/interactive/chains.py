"""In which order slices are made anew: rows that begin beside a confirmed slice.

A row goes up or down from a confirmed slice, one slice after the other. Between two confirmed
slices two rows meet in the middle; beyond the outermost confirmed slice one row goes on to the end
of the volume. No row depends on another one. From a slice that was confirmed as empty nothing can
be carried: the row from the other side goes all the way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chain:
    """A row of slices that begins beside a confirmed slice.

    Attributes:
        start: the confirmed slice.
        slices: in the order in which they are gone through.
        far: the confirmed slice behind the row's other end; None: there is none.
        ends: whether the object may end within the row: there is no object behind the other end.
    """

    start: int
    slices: tuple[int, ...]
    far: int | None
    ends: bool

    @property
    def direction(self) -> int:
        """1 upwards, -1 downwards."""
        return 1 if self.slices[0] > self.start else -1


def chains(confirmed: Mapping[int, np.ndarray], slices: Sequence[int]) -> list[Chain]:
    """The rows that make slices anew.

    Args:
        confirmed: the bool masks that a person confirmed, by slice.
        slices: which slices to make anew; none of them is confirmed. A row goes through all slices
            of its gap, so slices of the same gap that were left out are in a row too.

    Returns:
        The rows, in rising order of their gaps. Slices between two confirmed empty slices, and all
        slices where every confirmed slice is empty, are in no row: there is nothing to carry.
    """
    full = {z for z, mask in confirmed.items() if mask.any()}
    numbers = sorted(confirmed)
    found: list[Chain] = []
    last = max((*slices, *numbers), default=-1)
    for below, above in zip([None, *numbers], [*numbers, None], strict=True):
        low = 0 if below is None else below + 1
        high = last if above is None else above - 1
        wanted = [z for z in slices if low <= z <= high]
        if not wanted:
            continue
        from_below, from_above = below in full, above in full
        if from_below and from_above:
            assert below is not None and above is not None
            middle = (below + above) // 2
            halves = (range(low, middle + 1), below, above), (range(high, middle, -1), above, below)
            found += [Chain(s, tuple(part), far, False) for part, s, far in halves if part]
        elif from_below:
            assert below is not None
            found.append(Chain(below, tuple(range(low, max(wanted) + 1)), above, True))
        elif from_above:
            assert above is not None
            found.append(Chain(above, tuple(range(high, min(wanted) - 1, -1)), below, True))
    return found
