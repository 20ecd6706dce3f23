"""Draws the pictures of the explanation: python docs/pictures/draw.py [FOLDER].

The figures in them are those of docs/measurements/ and of `memory_count.py` beside this file.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from memory_count import invertible, unet

INK, BLUE, TEAL, ORANGE, RED = "#24323f", "#4878a8", "#0b8a86", "#d98a29", "#b5473c"
plt.rcParams.update(
    {
        "svg.hashsalt": "invseg_jax",
        "font.size": 11,
        "font.family": "DejaVu Sans",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.color": INK,
        "axes.labelcolor": INK,
    }
)


def box(axes: Axes, x: float, y: float, text: str, colour: str, width=0.9, height=0.55) -> None:
    """A rounded box with a text, centred at (x, y)."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.02,rounding_size=0.1",
            facecolor=colour + "22",
            edgecolor=colour,
            linewidth=1.6,
        )
    )
    axes.text(x, y, text, ha="center", va="center")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour=INK) -> None:
    """An arrow from one point to another."""
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)


def bare(axes: Axes, width: float, height: float) -> None:
    """A drawing without axes."""
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.set_aspect("equal")
    axes.axis("off")


def coupling() -> Figure:
    """A coupling and its inverse."""
    figure, pair = plt.subplots(1, 2, figsize=(9, 3.3))
    for axes, back in zip(pair, (False, True), strict=True):
        bare(axes, 6, 4)
        sign, title = (
            ("−", "Backward pass: the same F, subtracted")
            if back
            else (
                "+",
                "Forward pass: F, added",
            )
        )
        axes.set_title(title, fontsize=12, color=INK, pad=2)
        names = (
            ("$y_2$", "$y_1$", "$x_1$", "$x_2$") if back else ("$x_1$", "$x_2$", "$y_2$", "$y_1$")
        )
        left, right = 0.7, 5.3
        box(axes, left, 3.1, names[0], BLUE)
        box(axes, left, 0.9, names[1], BLUE)
        box(axes, right, 3.1, names[2], TEAL)
        box(axes, right, 0.9, names[3], TEAL)
        box(axes, 3, 1.9, "F", ORANGE, 1.0, 0.6)
        axes.text(3, 3.1, sign, ha="center", va="center", fontsize=17)
        axes.add_patch(Circle((3, 3.1), 0.26, fill=False, edgecolor=INK, linewidth=1.5))
        arrow(axes, (left + 0.47, 3.1), (2.72, 3.1))
        arrow(axes, (3.28, 3.1), (right - 0.47, 3.1))
        arrow(axes, (left + 0.47, 0.9), (right - 0.47, 0.9))
        arrow(axes, (3, 0.9), (3, 1.58))
        arrow(axes, (3, 2.22), (3, 2.82))
    figure.tight_layout()
    return figure


def gradient() -> Figure:
    """What is alive in memory during a step of six layers: plain and reversible."""
    layers = 6
    figure, pair = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    times = np.arange(2 * layers)
    for axes, name in zip(
        pair, ("Plain: every input waits", "Reversible: one stream"), strict=True
    ):
        plain = name.startswith("Plain")
        for layer in range(layers):
            born, dies = layer, 2 * layers - 1 - layer
            if plain:
                axes.barh(layer, dies - born + 1, left=born, height=0.62, color=BLUE, alpha=0.75)
            else:
                for start in (born, dies):
                    axes.barh(layer, 1, left=start, height=0.62, color=TEAL, alpha=0.85)
        axes.axvline(layers, color=INK, linestyle=":", linewidth=1.2)
        axes.text(layers / 2, layers - 0.2, "forward", ha="center", color=INK)
        axes.text(1.5 * layers, layers - 0.2, "backward", ha="center", color=INK)
        axes.set_title(name, color=INK, fontsize=12)
        axes.set_xlim(0, times[-1] + 1)
        axes.set_ylim(-0.6, layers + 0.4)
        axes.set_xlabel("time")
        axes.set_xticks([])
        axes.set_yticks(range(layers), [f"layer {i + 1}" for i in range(layers)])
    figure.tight_layout()
    return figure


def u_shape() -> Figure:
    """The streams of FullInvRes with channels 32, 64, 128 and 256."""
    figure, axes = plt.subplots(figsize=(9, 5.4))
    bare(axes, 14.4, 8.6)
    rows = (
        (7.6, "64³ voxels", 32, 24, 8),
        (5.5, "32³", 64, 48, 16),
        (3.4, "16³", 128, 96, 32),
    )
    inset = 0.0
    for y, size, channels, skip, down in rows:
        left, right = 2.9 + inset, 12.5 - inset
        box(axes, left, y, f"couplings\n{channels} channels", TEAL, 2.3, 0.95)
        box(axes, right, y, f"couplings\n{channels} channels", TEAL, 2.3, 0.95)
        arrow(axes, (left + 1.2, y), (right - 1.2, y), BLUE)
        axes.text(7.7, y + 0.22, f"{skip} channels wait", ha="center", color=BLUE)
        axes.text(0.1, y, size, va="center", ha="left")
        arrow(axes, (left + 0.55, y - 0.52), (left + 1.0, y - 1.58), ORANGE)
        arrow(axes, (right - 1.0, y - 1.58), (right - 0.55, y - 0.52), ORANGE)
        axes.text(left + 1.0, y - 1.0, f"{down} → {8 * down}", color=ORANGE, fontsize=10)
        axes.text(
            right - 1.0, y - 1.0, f"{8 * down} → {down}", color=ORANGE, fontsize=10, ha="right"
        )
        inset += 1.05
    box(axes, 7.7, 1.3, "couplings\n256 channels", TEAL, 3.3, 0.95)
    axes.text(0.1, 1.3, "8³", va="center", ha="left")
    axes.text(
        7.7, 0.2, "orange: eight voxels become eight channels, turned by an orthogonal matrix",
        ha="center", color=ORANGE, fontsize=10,
    )  # fmt: skip
    figure.tight_layout()
    return figure


def levels() -> Figure:
    """What a U-Net and the invertible trunk keep at each level, by count."""
    figure, axes = plt.subplots(figsize=(9, 3.8))
    wide, narrow = (32, 64, 128, 256), (24, 48, 72, 112)
    candidates = (
        ("U-Net", unet(narrow, 64), RED),
        ("invertible layers, plain", invertible(wide, 64, 2, "plain"), BLUE),
        ("invertible layers, remat", invertible(wide, 64, 2, "remat"), ORANGE),
        ("invertible layers, reversible", invertible(wide, 64, 2, "reversible"), TEAL),
    )
    places = np.arange(4)
    for i, (name, kept, colour) in enumerate(candidates):
        bars = axes.bar(places + 0.2 * (i - 1.5), kept, 0.19, color=colour, label=name)
        axes.bar_label(
            bars, [f"{x:.0f}" if x >= 1 or x == 0 else f"{x:.1f}" for x in kept], fontsize=9
        )
    axes.set_xticks(places, ["level 1\n64³ voxels", "level 2\n32³", "level 3\n16³", "level 4\n8³"])
    axes.set_ylabel("MiB kept for the gradient")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


def depth() -> Figure:
    """Measured memory over depth: `benchmark memory`, see docs/measurements/memory.md."""
    figure, axes = plt.subplots(figsize=(7.5, 3.9))
    couplings = (2, 8, 30)
    rows = (
        ("plain", (510, 1359, 4441), BLUE),
        ("remat", (510, 567, 1497), ORANGE),
        ("sqrt-remat", (301, 462, 748), RED),
        ("reversible", (144, 131, 131), TEAL),
    )
    for name, values, colour in rows:
        axes.plot(couplings, values, "o-", color=colour, linewidth=2)
        axes.annotate(
            f"{name}: {values[-1]} MiB", (30, values[-1]), xytext=(8, -4),
            textcoords="offset points", color=colour,
        )  # fmt: skip
    axes.set_xlim(0, 40)
    axes.set_xticks(couplings)
    axes.set_ylim(0, 4700)
    axes.set_xlabel("couplings a level and side")
    axes.set_ylabel("MiB set aside for one gradient")
    figure.tight_layout()
    return figure


def trade() -> Figure:
    """Measured score over memory: the hippocampus, see docs/measurements/segmentation.md."""
    figure, axes = plt.subplots(figsize=(7.5, 3.4))
    rows = (
        ("FullInvRes", 173, 0.885, TEAL),
        ("PartialInvRes", 212, 0.882, BLUE),
        ("UNet3D", 451, 0.888, RED),
    )
    for name, memory, score, colour in rows:
        axes.plot(memory, score, "o", color=colour, markersize=10)
        axes.annotate(
            name, (memory, score), xytext=(12, -4), textcoords="offset points", color=colour
        )
    axes.set_xlim(0, 560)
    axes.set_ylim(0.86, 0.90)
    axes.set_xlabel("memory of a training step, MiB")
    axes.set_ylabel("mean Dice, 42 cases")
    axes.text(
        0.99, 0.04, "a difference below 0.01 means nothing",
        transform=axes.transAxes, ha="right", fontsize=9,
    )  # fmt: skip
    figure.tight_layout()
    return figure


PICTURES = {f.__name__: f for f in (coupling, gradient, u_shape, levels, depth, trade)}


def main(folder: Path) -> None:
    """Draws all pictures into a folder."""
    for name, draw in PICTURES.items():
        figure = draw()
        path = folder / f"{name}.svg"
        figure.savefig(path, facecolor="white", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
