"""Masks as run lengths, for the log: how many voxels are outside, inside, outside, and so on."""

from __future__ import annotations

import re

import numpy as np

from invseg_jax.errors import UserError

_NUMBERS = re.compile(r"[0-9]{1,12}( [0-9]{1,12})*")


def run_lengths(mask: np.ndarray) -> str:
    """The lengths of the runs of a mask, row after row.

    Args:
        mask: bool (rows, columns).

    Returns:
        Whole numbers with blanks between. The first counts voxels outside of the mask, and may be
        0; inside and outside then take turns. They add up to the number of voxels.
    """
    flat = np.asarray(mask, bool).ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return " ".join(map(str, [0, *lengths] if flat.size and flat[0] else lengths))


def mask_of(lengths: object, shape: tuple[int, int]) -> np.ndarray:
    """The mask with these run lengths.

    Args:
        lengths: as `run_lengths` gives them.
        shape: of the slice, (rows, columns).

    Returns:
        bool (rows, columns).

    Raises:
        UserError: they are no run lengths of a slice of this shape.
    """
    size = shape[0] * shape[1]
    if isinstance(lengths, str) and _NUMBERS.fullmatch(lengths):
        numbers = np.array(lengths.split(), np.int64)
        if len(numbers) <= size + 1 and (numbers <= size).all() and numbers.sum() == size:
            return np.repeat(np.arange(len(numbers)) % 2 == 1, numbers).reshape(shape)
    raise UserError(f"a mask of the log is no mask of {shape[0]} x {shape[1]} voxels")
