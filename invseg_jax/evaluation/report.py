"""The result of an evaluation: summary.json, cases.csv, report.html and a table to print."""

import csv
import io
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import overload

import numpy as np
from rich.table import Table
from rich.text import Text

from invseg_jax.data.batches.regions import Regions
from invseg_jax.errors import UserError
from invseg_jax.evaluation.metrics import (
    confusion,
    dice_from_confusion,
    iou_from_dice,
    nan_mean,
)
from invseg_jax.evaluation.page import report_page
from invseg_jax.files.atomic_file import write_atomically
from invseg_jax.files.json_values import JsonObject
from invseg_jax.files.printable import printable

# What is averaged: its key in summary.json to the names of its columns and a row a case.
Scores = dict[str, tuple[list[str], np.ndarray]]
_TITLES = {"dice": "Dice", "region_dice": "Dice of the regions"}
_KINDS = ("truth", "prediction")
_none = partial(np.zeros, 0)


@dataclass(frozen=True)
class CaseResult:
    """Scores of one case.

    Attributes:
        id: The case.
        dice: Dice of each foreground class (classes - 1,); NaN where both maps lack the class.
        voxels: Voxels of each foreground class (classes - 1, 2): in the truth, in the prediction.
        region_dice: Dice of each region (regions,), if there are any; NaN where both maps lack it.
    """

    id: str
    dice: np.ndarray
    voxels: np.ndarray
    region_dice: np.ndarray = field(default_factory=_none)

    @classmethod
    def compare(
        cls,
        id: str,
        prediction: np.ndarray,
        truth: np.ndarray,
        classes: int,
        regions: Regions | None = None,
    ) -> "CaseResult":
        """Scores a prediction against the truth, both integer label maps of the same shape.

        Raises:
            ValueError: As `metrics.dice`.
        """
        counts = confusion(prediction, truth, classes)
        voxels = np.stack([counts.sum(axis=1)[1:], counts.sum(axis=0)[1:]], axis=1)
        region_dice = dice_from_confusion(counts, regions.members) if regions else _none()
        return cls(id, dice_from_confusion(counts), voxels, region_dice)


def write_report(
    folder: str | Path,
    *,
    results: Sequence[CaseResult],
    classes: Sequence[str],
    config: Mapping[str, object],
    pictures: Mapping[str, Path],
    regions: Sequence[str] = (),
    scored: Mapping[str, str | int] | None = None,
) -> JsonObject:
    """Writes summary.json, cases.csv and report.html, each atomically.

    A class's mean is over the cases in which it is in the truth or the prediction; the overall mean
    is the mean of the class means, as nnU-Net's. What is not a number is null in the JSON file and
    an empty cell in the CSV file. Beside "dice" stands "iou", of which the page shows the mean over
    the classes. Regions have scores and a mean of their own, "region_dice".

    Args:
        folder: Where the files go; made if missing.
        results: One entry a case.
        classes: Names, background first.
        config: Settings of the run, recorded in the summary and the page.
        pictures: PNG or JPEG files by caption, embedded in the page.
        regions: Names.
        scored: What the cases are: "data", the root of their data set, and "split", which of them;
            "step", after how many steps the network was saved, where that is known.

    Returns:
        What summary.json holds.

    Raises:
        ValueError: A result's number of classes or regions is not that of the names.
        UserError: Two classes or two regions share a name or one is called "mean", a file cannot be
            written, a picture cannot be read.
    """
    folder, scores = Path(folder), _scores(results, classes, regions)
    classes, _ = scores["dice"]
    summary = strict_json(
        {
            "mean": {
                key: _by_name(names, nan_mean(rows, axis=0))
                for key, (names, rows) in scores.items()
            },
            "cases": [
                {
                    "id": r.id,
                    **{key: _by_name(names, rows[i]) for key, (names, rows) in scores.items()},
                    "voxels": {
                        name: {"truth": int(truth), "prediction": int(prediction)}
                        for name, (truth, prediction) in zip(classes, r.voxels, strict=True)
                    },
                }
                for i, r in enumerate(results)
            ],
            "scored": scored or {},
            "config": config,
            "versions": versions(),
        }
    )
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / "summary.json", _utf8(text))
    write_atomically(folder / "cases.csv", _utf8(_csv(results, scores)))
    write_atomically(folder / "report.html", _utf8(report_page(summary, pictures)))
    return summary


def tables(
    results: Sequence[CaseResult], classes: Sequence[str], regions: Sequence[str] = ()
) -> list[Table]:
    """Dice of each case and their mean, for the terminal; of the regions in a table of their own.

    The last column is the intersection over union, its mean over the classes.

    Args:
        results: One entry a case.
        classes: Names, background first.
        regions: Names.
    """
    grids = []
    scores = _scores(results, classes, regions)
    _, iou = scores.pop("iou")
    for key, (names, rows) in scores.items():
        more = [("mean", rows), *([("IoU", iou)] if key == "dice" else [])]
        # Text throughout: rich would take brackets in a name for its markup.
        grid = Table(title=Text(_TITLES[key]))
        grid.add_column("case", overflow="fold")
        for name in (*names, *(title for title, _ in more)):
            grid.add_column(Text(printable(name)), justify="right", no_wrap=True)
        for i, (r, row) in enumerate(zip(results, rows, strict=True)):
            means = (_mean(values[i]) for _, values in more)
            grid.add_row(Text(printable(r.id)), *map(_terminal, (*row, *means)))
        grid.add_section()
        means = (_mean(nan_mean(values, axis=0)) for _, values in more)
        grid.add_row("mean", *map(_terminal, (*nan_mean(rows, axis=0), *means)), style="bold")
        grids.append(grid)
    return grids


def versions() -> dict[str, str | None]:
    """Versions of Python and of what decides the result; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("jax", "flax", "numpy", "invseg_jax"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


@overload
def strict_json(value: Mapping[str, object]) -> JsonObject: ...


@overload
def strict_json(value: object) -> object: ...


def strict_json(value: object) -> object:
    """The value in terms of JSON: NaN and infinity become None, what JSON lacks its string."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray | np.generic):
        return strict_json(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): strict_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [strict_json(item) for item in value]
    return str(value)


def _scores(
    results: Sequence[CaseResult], classes: Sequence[str], regions: Sequence[str]
) -> Scores:
    foreground, regions = [str(name) for name in classes[1:]], [str(name) for name in regions]
    for kind, names in (("classes", foreground), ("regions", regions)):
        if len(set(names)) != len(names) or "mean" in names:
            raise UserError(
                f"the {kind} {', '.join(names)} cannot be told apart in a report: "
                'give each a name of its own, other than "mean"'
            )
    count, regional = len(foreground), len(regions)
    for r in results:
        shapes = r.dice.shape, r.voxels.shape, r.region_dice.shape
        if shapes != ((count,), (count, 2), (regional,)):
            raise ValueError(
                f"case {r.id} has dice {r.dice.shape}, voxels {r.voxels.shape} and region_dice "
                f"{r.region_dice.shape} for {count} foreground classes and {regional} regions"
            )
    dice = _rows([r.dice for r in results], count)
    scores = {"dice": (foreground, dice), "iou": (foreground, iou_from_dice(dice))}
    if regions:
        scores["region_dice"] = regions, _rows([r.region_dice for r in results], regional)
    return scores


def _rows(values: list[np.ndarray], length: int) -> np.ndarray:
    return np.array(values, np.float64).reshape(len(values), length)


def _mean(values: np.ndarray) -> float:
    return float(nan_mean(values))


def _utf8(text: str) -> bytes:
    # A file name that is no UTF-8 reaches us with lone surrogates, which cannot be encoded.
    return text.encode("utf-8", "backslashreplace")


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {**dict(zip(names, values.tolist(), strict=True)), "mean": _mean(values)}


def _terminal(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.4f}"


def _csv(results: Sequence[CaseResult], scores: Scores) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    heads = [f"{key}_{name}" for key, (names, _) in scores.items() for name in (*names, "mean")]
    counts = [f"{kind}_voxels_{name}" for name in scores["dice"][0] for kind in _KINDS]
    # Not even a quoted cell may hold a line end: a table is read line by line.
    writer.writerow(["case", *map(printable, (*heads, *counts))])
    for i, r in enumerate(results):
        values = [v for _, rows in scores.values() for v in (*rows[i].tolist(), _mean(rows[i]))]
        cells = ["" if math.isnan(v) else repr(v) for v in values]
        writer.writerow([printable(r.id), *cells, *r.voxels.reshape(-1).tolist()])
    return buffer.getvalue()
