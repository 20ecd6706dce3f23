"""What a check found, for the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from invseg_jax.data.checks.case import Fault
from invseg_jax.data.layouts.case import Dataset
from invseg_jax.files.json_values import JsonObject
from invseg_jax.files.printable import printable


def table(faults: Sequence[Fault], title: str = "Faults") -> Table:
    """One row a fault; a case's name stands at its first."""
    # Text throughout: rich would take brackets in a name for its markup.
    grid = Table(title=Text(title))
    grid.add_column("case", overflow="fold", max_width=24)
    grid.add_column("kind", no_wrap=True)
    grid.add_column("what is wrong, and what to do", overflow="fold")
    before = None
    for fault in faults:
        case = "" if fault.case == before else fault.case or "(data set)"
        grid.add_row(Text(printable(case)), fault.kind, Text(printable(fault.text)))
        before = fault.case
    return grid


def summary(
    dataset: Dataset | None, faults: Sequence[Fault], warnings: Sequence[Fault] = ()
) -> str:
    """One line: how many cases there are, how many are faulty, and how many warnings there are."""
    if dataset is None:
        return "the data set cannot be listed"
    cases = dataset.cases
    labelled = sum(case.label is not None for case in cases)
    text = f"{_count(len(cases), 'case')}, {labelled} with a label map: "
    faulty = len({fault.case for fault in faults if fault.case})
    found = f"{_count(len(faults), 'fault')} in {_count(faulty, 'case')}" if faults else "no fault"
    return text + found + (f", {_count(len(warnings), 'warning')}" if warnings else "")


def as_json(
    layout: str,
    root: Path,
    dataset: Dataset | None,
    faults: Sequence[Fault],
    warnings: Sequence[Fault] = (),
) -> JsonObject:
    """What the JSON file holds; `cases` is null where the data set cannot be listed."""
    return {
        "layout": layout,
        "root": str(root),
        "cases": None if dataset is None else len(dataset.cases),
        "labelled": None
        if dataset is None
        else sum(case.label is not None for case in dataset.cases),
        "faults": [_plain(fault, "fault") for fault in faults],
        "warnings": [_plain(warning, "warning") for warning in warnings],
    }


def _plain(fault: Fault, name: str) -> dict[str, str | None]:
    return {"case": fault.case or None, "kind": fault.kind, name: fault.text}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
