"""The table: Markdown, CSV, terminal; and a CSV file of single runs."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from invseg_jax.files.printable import printable
from invseg_jax.sweep.summary import SCORES, Outcome, Spread, Summary

_NOTE = (
    "Scores are the mean over the held-out cases (where config.data.folds is 1, over the training "
    "cases without their annotated slices), then mean ± sample standard deviation over the runs "
    "(folds x seeds). Minutes are those of the training steps alone, memory what the compiler sets "
    "aside for one of them."
)


def markdown(outcome: Outcome) -> str:
    """The table as Markdown, with what failed below it."""
    heads, rows = _cells(outcome)
    network = heads.index("network")
    lines = [
        _line(heads),
        _line([":--" if i <= network else "--:" for i in range(len(heads))]),
        *map(_line, rows),
        "",
        _NOTE,
    ]
    if outcome.failed:
        lines += ["", "Failed:", ""]
        lines += [f"- {_plain(name)}: {_plain(reason)}" for name, reason in outcome.failed.items()]
    return "\n".join(lines) + "\n"


def terminal(outcome: Outcome) -> list[Table]:
    """The table for rich's console, in two that fit it: scores, and what they cost."""
    heads, rows = _cells(outcome)
    identity = [heads[0], *_varied(outcome)]
    scores = ["runs", *(head for head in heads if head.startswith(tuple(SCORES.values())))]
    costs = [head for head in heads if head not in (*identity, *scores)]
    grids = []
    for columns in (scores, costs):
        grid = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for head in (*identity, *columns):
            # Text throughout: rich would take brackets in a name for its markup.
            if head in identity:
                grid.add_column(Text(printable(head)), overflow="fold", min_width=10)
            else:
                side = "left" if head == "network" else "right"
                lines = Text(printable(head).replace(" ", "\n"))  # narrow
                grid.add_column(lines, justify=side, overflow="fold")
        for row in rows:
            cells = dict(zip(heads, row, strict=True))
            grid.add_row(*(Text(printable(cells[head])) for head in (*identity, *columns)))
        grids.append(grid)
    return grids


def table_csv(outcome: Outcome) -> str:
    """One line a row, every figure in full; an empty cell where there is none."""
    columns = _score_columns(outcome)
    heads = ["configuration", *_varied(outcome), "network", "runs", "wanted", "steps", "minutes"]
    heads += [f"{k}_{n}_{what}" for k, n in columns for what in ("mean", "sd")]
    heads += ["parameters", "compiled_bytes", "step_seconds"]
    lines: list[list[Any]] = [heads]
    for row in outcome.rows:
        spreads = [row.spread(kind, name) for kind, name in columns]
        memory = row.memory or {}
        lines.append(
            [
                *_identity(outcome, row),
                row.row.experiment.model.name,
                len(row.results),
                row.wanted,
                row.steps,
                row.minutes,
                *(figure for spread in spreads for figure in (spread.mean, spread.sd)),
                memory.get("parameters"),
                memory.get("bytes"),
                row.step_seconds,
            ]
        )
    return _csv(lines)


def runs_csv(outcome: Outcome) -> str:
    """One line a finished run, with the score of every class and region."""
    columns = [(kind, name) for kind in SCORES for name in outcome.names(kind)]
    heads = ["run", "configuration", *_varied(outcome), "fold", "seed", "steps", "minutes"]
    heads += [f"{kind}_{name}" for kind, name in columns] + ["step_seconds"]
    lines: list[list[Any]] = [heads]
    for row in outcome.rows:
        for r in row.results:
            scores = [r.scores.get(kind, {}).get(name) for kind, name in columns]
            lines.append(
                [
                    r.run.name,
                    *_identity(outcome, row),
                    r.run.fold,
                    r.run.seed,
                    r.steps,
                    r.minutes,
                    *scores,
                    r.step_seconds,
                ]
            )
    return _csv(lines)


def _score_columns(outcome: Outcome) -> list[tuple[str, str]]:
    """Dice of each class and the mean; of other scores the mean."""
    columns = [("dice", name) for name in outcome.names("dice")]
    return columns + [(k, "mean") for k in SCORES if k != "dice" and outcome.names(k)]


def _varied(outcome: Outcome) -> list[str]:
    return [] if outcome.vary is None else [f"config.{outcome.vary.key}"]


def _identity(outcome: Outcome, row: Summary) -> list[str]:
    value = [] if outcome.vary is None else [str(row.row.value)]
    return [row.row.configuration, *value]


def _cells(outcome: Outcome) -> tuple[list[str], list[list[str]]]:
    columns = _score_columns(outcome)
    heads = ["configuration", *_varied(outcome), "network", "runs", "steps", "minutes"]
    heads += [f"{SCORES[kind]} {name}" for kind, name in columns]
    heads += ["parameters", "memory, MiB", "s a step"]
    rows = []
    for row in outcome.rows:
        memory, done = row.memory, len(row.results)
        rows.append(
            [
                *_identity(outcome, row),
                row.row.experiment.model.name,
                str(done) if done == row.wanted else f"{done} of {row.wanted}",
                "" if row.steps is None else str(row.steps),
                _number(row.minutes, ".1f"),
                *(_spread(row.spread(kind, name)) for kind, name in columns),
                "" if memory is None else f"{memory['parameters']:,}",
                "" if memory is None else f"{memory['bytes'] / 2**20:.0f}",
                _number(row.step_seconds, ".3g"),
            ]
        )
    return heads, rows


def _spread(spread: Spread) -> str:
    mean, sd = _number(spread.mean, ".3f"), _number(spread.sd, ".3f")
    return f"{mean} ± {sd}" if sd else mean


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    return printable(" ".join(text.split())).replace("|", "\\|")


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for line in lines:
        missing = [v is None or (isinstance(v, float) and math.isnan(v)) for v in line]
        cells = [printable(v) if isinstance(v, str) else v for v in line]
        writer.writerow(["" if gone else v for v, gone in zip(cells, missing, strict=True)])
    return buffer.getvalue()
