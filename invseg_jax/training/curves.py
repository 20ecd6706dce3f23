"""The curves of a training run, as a PNG file."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from invseg_jax.runs.figure import DPI, add_legend, class_colours, save_png

# The metrics with a panel of their own where a task names none.
SHOWN = {"dice": "Dice"}


def draw_curves(
    path: str | Path,
    history: Mapping[str, Sequence[tuple[int, float]]],
    shown: Mapping[str, str] = SHOWN,
) -> None:
    """Draws the course of a training run: loss, the task's own metrics, learning rate.

    Args:
        path: PNG file to write, atomically.
        history: (step, value) pairs of each series, by name. A name that ends in "loss" belongs to
            the loss, one with a part that is a metric of `shown` to that metric ("val/dice/CSF",
            "val/dice/mean" and "train/dice" to "dice"), one that ends in "reconstruction" to the
            VAE branch's error, one that ends in "learning_rate" to the learning rate; others are
            left out. Values that are not finite leave a gap.
        shown: metrics with a panel of their own, and their titles; "Dice" goes from 0 to 1.

    Raises:
        UserError: The file cannot be written.
    """
    kept = {name: points for name, points in history.items() if len(points)}
    groups: dict[str, dict[str, Sequence[tuple[int, float]]]] = {}
    for name, points in kept.items():
        groups.setdefault(_title(name, shown), {})[name] = points
    order = ("loss", *shown.values(), "reconstruction", "learning rate")
    groups = {title: groups[title] for title in dict.fromkeys(order) if title in groups}
    figure = Figure(figsize=(8, 1 + 2.7 * max(1, len(groups))), dpi=DPI, layout="constrained")
    if not groups:
        figure.text(0.5, 0.5, "nothing has been logged yet", ha="center", va="center")
        save_png(figure, path)
        return
    ratios = [1.0 if title == "learning rate" else 2.0 for title in groups]
    panels = figure.subplots(
        len(groups), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": ratios}
    )
    for axes, (title, series) in zip(panels[:, 0], groups.items(), strict=True):
        _panel(axes, title, series, {"loss", "reconstruction", *shown})
    panels[-1, 0].set_xlabel("step")
    panels[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    save_png(figure, path)


def _title(name: str, shown: Mapping[str, str]) -> str:
    """The panel to which a series belongs; "" for none."""
    for part in name.split("/"):
        if part in shown:
            return shown[part]
    endings = {"loss": "loss", "reconstruction": "reconstruction", "learning_rate": "learning rate"}
    return next((title for ending, title in endings.items() if name.endswith(ending)), "")


def _panel(
    axes: Axes,
    title: str,
    series: Mapping[str, Sequence[tuple[int, float]]],
    said: Collection[str],
) -> None:
    classes = [n for n in series if n.startswith("val/dice/") and n != "val/dice/mean"]
    colours = dict(zip(classes, class_colours(len(classes)), strict=True))
    plain = iter(class_colours(len(series)))
    values, lines, labels = [], [], []
    for name, points in series.items():
        steps = np.array([step for step, _ in points], float)
        value = np.array([v for _, v in points], float)
        value[~np.isfinite(value)] = np.nan
        values.append(value)
        # One colour a class; the mean stands out in black, what is of training is dotted grey.
        if title == "Dice":
            colour = colours.get(name, "black" if name == "val/dice/mean" else "0.5")
            style = ":" if name not in colours and colour != "black" else "-"
        else:
            colour, style = next(plain), "-"
        smooth = _running_mean(value)
        marker = "o" if len(value) <= 40 else ""
        if smooth is not value:
            axes.plot(steps, value, color=colour, alpha=0.3, linewidth=0.6)
        lines += axes.plot(
            steps, smooth, color=colour, linestyle=style, linewidth=1.6, marker=marker, markersize=3
        )
        labels.append(_label(name, value, title, said))
    finite = np.concatenate(values)
    finite = finite[np.isfinite(finite)]
    if title == "Dice":
        axes.set_ylim(0, 1)
    elif title == "learning rate":
        axes.set_ylim(bottom=0)
    elif finite.size and finite.min() > 0 and finite.max() > 10 * finite.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel(title)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    if title != "learning rate":
        add_legend(axes, lines, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9)


def _label(name: str, value: np.ndarray, title: str, said: Collection[str]) -> str:
    """Name without what the axis says already, and the last value: "val CSF  0.931"."""
    short = " ".join(part for part in name.split("/") if part not in said) or name
    finite = value[np.isfinite(value)]
    if finite.size == 0:
        return short
    if title != "Dice":
        return f"{short}  {finite[-1]:.4g}"
    best = f" (best {finite.max():.3f})" if name.startswith("val/") else ""
    return f"{short}  {finite[-1]:.3f}{best}"


def _running_mean(value: np.ndarray) -> np.ndarray:
    """Mean over a fiftieth of a long series; a short one is returned itself."""
    width = len(value) // 50
    if width < 2:
        return value
    kernel = np.ones(width)
    here = np.isfinite(value)
    count = np.convolve(here, kernel, mode="same")
    mean = np.full(len(value), np.nan)
    total = np.convolve(np.where(here, value, 0.0), kernel, mode="same")
    return np.divide(total, count, out=mean, where=here)
