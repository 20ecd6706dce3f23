"""The result of an evaluation: summary.json, cases.csv, report.html and a table to print."""

import csv
import io
import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from invseg_jax.atomic_file import write_atomically
from invseg_jax.errors import UserError
from invseg_jax.evaluation.metrics import confusion, dice_from_confusion, nan_mean
from invseg_jax.evaluation.page import report_page


@dataclass(frozen=True)
class CaseResult:
    """Scores of one case.

    Attributes:
        id: The case.
        dice: Dice of each foreground class (classes - 1,); NaN where both maps lack the class.
        voxels: Voxels of each foreground class (classes - 1, 2): in the truth, in the prediction.
    """

    id: str
    dice: np.ndarray
    voxels: np.ndarray

    @classmethod
    def compare(
        cls, id: str, prediction: np.ndarray, truth: np.ndarray, classes: int
    ) -> "CaseResult":
        """Scores a prediction against the truth, both integer label maps of the same shape.

        Raises:
            ValueError: As `metrics.dice`.
        """
        counts = confusion(prediction, truth, classes)
        voxels = np.stack([counts.sum(axis=1)[1:], counts.sum(axis=0)[1:]], axis=1)
        return cls(id, dice_from_confusion(counts), voxels)


def write_report(
    folder: str | Path,
    *,
    results: Sequence[CaseResult],
    classes: Sequence[str],
    config: Mapping[str, Any],
    pictures: Mapping[str, Path],
) -> dict[str, Any]:
    """Writes summary.json, cases.csv and report.html, each atomically.

    A class's mean is over the cases in which it is in the truth or the prediction; the overall mean
    is the mean of the class means, as nnU-Net's. What is not a number is null in the JSON file and
    an empty cell in the CSV file.

    Args:
        folder: Where the files go; made if missing.
        results: One entry a case.
        classes: Names, background first.
        config: Settings of the run, recorded in the summary and the page.
        pictures: PNG or JPEG files by caption, embedded in the page.

    Returns:
        What summary.json holds.

    Raises:
        ValueError: A result's number of classes is not that of `classes`.
        UserError: Two classes share a name or one is called "mean", a file cannot be written, a
            picture cannot be read.
    """
    folder, names = Path(folder), _foreground(results, classes)
    rows = _dice_rows(results, names)
    per_class = nan_mean(rows, axis=0)
    summary: dict[str, Any] = strict_json(
        {
            "mean": {"dice": _by_class(names, per_class)},
            "cases": [
                {
                    "id": r.id,
                    "dice": _by_class(names, r.dice),
                    "voxels": {
                        name: {"truth": int(truth), "prediction": int(prediction)}
                        for name, (truth, prediction) in zip(names, r.voxels, strict=True)
                    },
                }
                for r in results
            ],
            "config": config,
            "versions": versions(),
        }
    )
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / "summary.json", _utf8(text))
    write_atomically(folder / "cases.csv", _utf8(_csv(results, names)))
    write_atomically(folder / "report.html", _utf8(report_page(summary, pictures)))
    return summary


def table(results: Sequence[CaseResult], classes: Sequence[str]) -> Table:
    """Dice of each case and their mean, for the terminal.

    Args:
        results: One entry a case.
        classes: Names, background first.
    """
    names = _foreground(results, classes)
    means = nan_mean(_dice_rows(results, names), axis=0)
    # Text throughout: rich would take brackets in a name for its markup.
    grid = Table(title=Text("Dice"))
    grid.add_column("case", overflow="fold")
    for name in (*names, "mean"):
        grid.add_column(Text(name), justify="right", no_wrap=True)
    for r in results:
        grid.add_row(Text(r.id), *(_terminal(v) for v in (*r.dice, _mean(r.dice))))
    grid.add_section()
    grid.add_row("mean", *(_terminal(v) for v in (*means, _mean(means))), style="bold")
    return grid


def versions() -> dict[str, str | None]:
    """Versions of Python and of what decides the result; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("jax", "flax", "numpy", "invseg_jax"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def strict_json(value: Any) -> Any:
    """The value in terms of JSON: NaN and infinity become None, what JSON lacks its string."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray | np.generic):
        return strict_json(value.tolist())
    if hasattr(value, "items"):  # ml_collections.ConfigDict is no Mapping
        return {str(key): strict_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [strict_json(item) for item in value]
    return str(value)


def _foreground(results: Iterable[CaseResult], classes: Sequence[str]) -> list[str]:
    names = [str(name) for name in classes[1:]]
    if len(set(names)) != len(names) or "mean" in names:
        raise UserError(
            f"the classes {', '.join(names)} cannot be told apart in a report: "
            'give each a name of its own, other than "mean"'
        )
    for r in results:
        if r.dice.shape != (len(names),) or r.voxels.shape != (len(names), 2):
            raise ValueError(
                f"case {r.id} has dice {r.dice.shape} and voxels {r.voxels.shape} "
                f"for {len(names)} foreground classes"
            )
    return names


def _dice_rows(results: Sequence[CaseResult], names: Sequence[str]) -> np.ndarray:
    return np.array([r.dice for r in results], np.float64).reshape(len(results), len(names))


def _mean(values: np.ndarray) -> float:
    return float(nan_mean(values))


def _utf8(text: str) -> bytes:
    # A file name that is no UTF-8 reaches us with lone surrogates, which cannot be encoded.
    return text.encode("utf-8", "backslashreplace")


def _by_class(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {**dict(zip(names, values.tolist(), strict=True)), "mean": _mean(values)}


def _terminal(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.4f}"


def _csv(results: Sequence[CaseResult], names: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    counts = [f"{kind}_voxels_{name}" for name in names for kind in ("truth", "prediction")]
    writer.writerow(["case", *(f"dice_{name}" for name in (*names, "mean")), *counts])
    for r in results:
        scores = [*r.dice.tolist(), _mean(r.dice)]
        cells = ["" if math.isnan(v) else repr(v) for v in scores]
        writer.writerow([r.id, *cells, *r.voxels.reshape(-1).tolist()])
    return buffer.getvalue()
