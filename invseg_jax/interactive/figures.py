"""The pictures of an interactive run's evaluation."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from invseg_jax.interactive.rounds_table import Means
from invseg_jax.interactive.scores import Calibration
from invseg_jax.runs.figure import DPI, add_legend, class_colours, save_png

_STYLES = {"interpolated": "--", "random": ":", "even": "-."}


def draw_rounds(path: Path, found: Means, rounds: int) -> None:
    """Draws Dice against rounds, one panel a prompt and one line a choice.

    Raises:
        UserError: the file cannot be written.
    """
    figure = Figure(figsize=(4 * len(found), 4), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    lowest = min(min(row) for choices in found.values() for row in choices.values())
    for axes, (prompt, choices) in zip(panels, found.items(), strict=True):
        colours = class_colours(len(choices))
        lines: list[Line2D] = []
        for (choice, row), colour in zip(choices.items(), colours, strict=True):
            at = np.arange(1, len(row) + 1)
            style = _STYLES.get(choice, "-")
            lines += axes.plot(at, row, style, color=colour, marker="o", markersize=3)
        axes.set_title(prompt.replace("_", " "))
        axes.set_xlabel("slices marked")
        axes.set_xticks(range(1, rounds + 1))
        axes.set_ylim(max(lowest - 0.05, 0), 1)
        axes.grid(alpha=0.3)
        add_legend(axes, lines, list(choices), loc="lower right", fontsize=8)
    panels[0].set_ylabel("mean Dice")
    save_png(figure, path)


def draw_quality(path: Path, judged: np.ndarray, calibration: Calibration) -> None:
    """Draws true against predicted Dice: every slice, and the mean of each bin.

    Args:
        path: PNG file.
        judged: (slices, 2): predicted and true Dice.
        calibration: of the same slices.

    Raises:
        UserError: the file cannot be written.
    """
    figure = Figure(figsize=(4.5, 4.5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    dot, mean = class_colours(6)[[0, 5]]
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes.scatter(judged[:, 0], judged[:, 1], s=4, color=dot, alpha=0.3, linewidths=0)
    full = calibration.bins[:, 2] > 0
    axes.plot(calibration.bins[full, 0], calibration.bins[full, 1], "o-", color=mean)
    axes.set_xlabel("predicted Dice of a slice")
    axes.set_ylabel("true Dice")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_title(
        f"rank correlation {calibration.correlation:.2f}, "
        f"calibration error {calibration.error:.3f}",
        fontsize=9,
    )
    save_png(figure, path)
