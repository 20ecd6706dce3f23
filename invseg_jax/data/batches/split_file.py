"""A split from a file, in the form of nnU-Net's splits_final.json.

    [{"train": ["case_1", "case_2"], "val": ["case_3"]}, …]

One entry a fold. Each names cases by their ids (nnU-Net's documentation/manual_data_splits.md).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from invseg_jax.data.layouts.case import some
from invseg_jax.data.layouts.names import composed
from invseg_jax.errors import UserError
from invseg_jax.files.missing import why_missing

_KEY = "config.data.split"
_PARTS = ("train", "val")


def read_split(file: str, fold: int) -> tuple[set[str], set[str]]:
    """Reads one entry of a split file.

    Args:
        file: the JSON file.
        fold: number of the entry, from 0 on.

    Returns:
        The ids to train on, and those to hold out.

    Raises:
        UserError: there is no such file, it has another form, it has no such entry, or the entry
            names an id twice or no id to train on.
    """
    where = f"{_KEY}: {file}"
    if reason := why_missing(file):
        raise UserError(f"{where}: {reason}")
    try:
        entries = json.loads(Path(file).read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise UserError(f"{where}: cannot be read as JSON ({error}); mend it") from error
    if not isinstance(entries, list) or not entries or not all(map(_is_entry, entries)):
        raise UserError(
            f'{where}: not a list such as [{{"train": ["a", "b"], "val": ["c"]}}, …], one entry a '
            "fold; mend it"
        )
    if not 0 <= fold < len(entries):
        raise UserError(
            f"config.data.fold {fold}: {file} has {len(entries)} entries; folds count from 0"
        )
    parts = {part: [composed(id) for id in entries[fold][part]] for part in _PARTS}
    counts = Counter(id for part in _PARTS for id in parts[part])
    if twice := [id for id, count in counts.items() if count > 1]:
        raise UserError(f"{where}: entry {fold} names {some(twice)} twice; name every id once")
    if not parts["train"]:
        raise UserError(f'{where}: entry {fold} has no id in "train"; name the cases to train on')
    return set(parts["train"]), set(parts["val"])


def refuse_unknown(file: str, ids: Collection[str], known: Collection[str]) -> None:
    """Refuses a split that names cases which the data set does not have.

    Args:
        file: the JSON file.
        ids: of the cases that the split names.
        known: ids of the labelled cases.

    Raises:
        UserError: an id is not known.
    """
    if unknown := sorted(set(ids) - set(known)):
        raise UserError(
            f"{_KEY}: {file} names {some(unknown)}, and the data set has no labelled case with "
            f"such an id; there are {some(sorted(known))}"
        )


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(part), list) and all(isinstance(id, str) for id in entry[part])
        for part in _PARTS
    )
