"""The picture of a comparison: scores of each class, or their course over the varied values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from invseg_jax.files.printable import printable
from invseg_jax.runs.figure import DPI, add_legend, class_colours, save_png
from invseg_jax.sweep.summary import SCORES, Outcome, Summary

# Of an axis of scores: narrower, the chance between two runs would look like a difference.
_LEAST_SPAN = 0.04


def draw(path: Path, outcome: Outcome) -> None:
    """Draws what is finished.

    With a varied setting: the mean Dice over its values, a line a configuration, and the mean IoU
    beside it where there is one. Without: Dice of each class and the mean, and beside it the mean
    over the compiled memory. Points are means over the runs, bars the sample standard deviation,
    small points the single runs.

    Args:
        path: PNG file to write, atomically.
        outcome: what came of the runs.

    Raises:
        UserError: the file cannot be written.
    """
    if not outcome.names("dice"):
        figure = Figure(figsize=(8, 3), dpi=DPI)
        figure.text(0.5, 0.5, "no run is finished yet", ha="center", va="center")
        save_png(figure, path)
        return
    names = list(dict.fromkeys(row.row.configuration for row in outcome.rows))
    colours = dict(zip(names, class_colours(len(names)), strict=True))
    height = 4.2 + 0.22 * len(names)
    figure = Figure(figsize=(10, height), dpi=DPI, layout="constrained")
    if outcome.vary is None:
        classes = outcome.names("dice")
        ratios = [max(1.0, 0.5 * len(classes)), 1.0]
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": ratios})
        handles = _classes(left, outcome.rows, classes, colours)
        _memory(right, outcome.rows, colours)
    else:
        kinds = [kind for kind in ("dice", "iou") if outcome.names(kind)]
        panels = figure.subplots(1, len(kinds), squeeze=False)[0]
        for axes, kind in zip(panels, kinds, strict=True):
            handles = _course(axes, outcome, kind, colours)
    note = "mean over the runs and sample standard deviation; small points: single runs"
    if all(len(row.results) < 2 for row in outcome.rows):
        note = "one run each"
    figure.suptitle(note, fontsize=9, color="0.4")
    add_legend(figure, handles, names, loc="outside lower center", ncols=min(3, len(names)))
    save_png(figure, path)


def _classes(
    axes: Axes, rows: Sequence[Summary], classes: Sequence[str], colours: dict[str, Any]
) -> list[Any]:
    handles = []
    offsets = _offsets(len(rows))
    for row, offset in zip(rows, offsets, strict=True):
        colour = colours[row.row.configuration]
        for i, name in enumerate(classes):
            handle = _point(axes, i + offset, row, "dice", name, colour)
        handles.append(handle)
    _categories(axes, classes)
    for i in range(1, len(classes)):
        axes.axvline(i - 0.5, color="0.9", linewidth=0.8)
    axes.set_ylabel("Dice")
    _frame(axes)
    return handles


def _memory(axes: Axes, rows: Sequence[Summary], colours: dict[str, Any]) -> None:
    for row in rows:
        if row.memory is not None:
            colour = colours[row.row.configuration]
            _point(axes, row.memory["bytes"] / 2**20, row, "dice", "mean", colour)
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel("memory of a training step, MiB")
    axes.set_ylabel("mean Dice")
    _frame(axes)


def _course(axes: Axes, outcome: Outcome, kind: str, colours: dict[str, Any]) -> list[Any]:
    assert outcome.vary is not None
    values = list(outcome.vary.values)
    handles = []
    # Beside each other, as error bars would hide each other.
    for (name, colour), offset in zip(colours.items(), 0.3 * _offsets(len(colours)), strict=True):
        rows = [row for row in outcome.rows if row.row.configuration == name]
        x = [values.index(str(row.row.value)) + offset for row in rows]
        means = [row.spread(kind).mean for row in rows]
        axes.plot(x, means, color=colour, linewidth=1.4)
        for place, row in zip(x, rows, strict=True):
            handle = _point(axes, place, row, kind, "mean", colour)
        handles.append(handle)
    _categories(axes, values)
    axes.set_xlabel(outcome.vary.key)
    axes.set_ylabel(f"mean {SCORES[kind]}")
    _frame(axes)
    return handles


def _point(axes: Axes, x: float, row: Summary, kind: str, name: str, colour: Any) -> Any:
    """The mean with its bar, and the single runs; returns what a legend shows."""
    spread, single = row.spread(kind, name), row.scores(kind, name)
    if len(single) > 1:
        # Beside the bar, which would hide them.
        beside = offset_copy(axes.transData, cast(Figure, axes.get_figure()), x=6, units="points")
        axes.scatter([x] * len(single), single, s=9, color=colour, linewidths=0, transform=beside)
    bar = np.nan_to_num(spread.sd)
    axes.errorbar(x, spread.mean, yerr=bar or None, color=colour, capsize=3, linewidth=1.2)
    return axes.scatter([x], [spread.mean], s=42, color=colour, edgecolors="0.2", zorder=3)


def _offsets(count: int) -> np.ndarray:
    """Places of `count` neighbours around 0, 0.6 from the first to the last at most."""
    return (np.arange(count) - (count - 1) / 2) * min(0.2, 0.6 / max(count - 1, 1))


def _categories(axes: Axes, names: Sequence[str]) -> None:
    names = [printable(name) for name in names]
    turned = sum(map(len, names)) > 50
    axes.set_xticks(
        range(len(names)), names, rotation=30 if turned else 0, ha="right" if turned else "center"
    )
    axes.set_xlim(-0.5, len(names) - 0.5)
    # Names are taken literally: "$" would start a formula.
    for text in axes.get_xticklabels():
        text.set_parse_math(False)


def _frame(axes: Axes) -> None:
    low, high = axes.get_ylim()
    if high - low < _LEAST_SPAN:
        middle = (low + high) / 2
        axes.set_ylim(middle - _LEAST_SPAN / 2, middle + _LEAST_SPAN / 2)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
