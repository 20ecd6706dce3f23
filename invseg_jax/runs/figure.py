"""What all figures share: the class colours, legends that show names as they are, the PNG file.

Matplotlib is used through its object-oriented interface and the Agg canvas alone: no display, no
pyplot state, nothing that a caller's own figures could notice.
"""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from invseg_jax.files.atomic_file import write_atomically
from invseg_jax.files.printable import printable

DPI = 120

# Okabe and Ito's palette, which people with any common colour blindness can tell apart, in an order
# that keeps the first few classes far apart on grey images and on white paper.
_PALETTE = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2")


def class_colours(count: int) -> np.ndarray:
    """Colours (count, 3) of the foreground classes, each 0 to 1.

    Seven for certain; then darker and lighter ones, and from the 22nd on they come again.
    """
    palette = np.array([to_rgb(c) for c in _PALETTE])
    shades = np.concatenate([palette, 0.6 * palette, 0.5 + 0.5 * palette])
    return shades[np.arange(count) % len(shades)]


def add_legend(
    owner: Axes | Figure, handles: Sequence[Artist], names: Sequence[str], **options: object
) -> None:
    """Adds a frameless legend with any names, taken literally; what is not printable is escaped.

    Args:
        owner: Of the legend.
        handles: What the names stand for.
        names: One a handle.
        **options: Of `matplotlib.legend.Legend`.
    """
    chosen: dict[str, Any] = options  # matplotlib has no type for them
    legend = owner.legend(handles, [""] * len(names), frameon=False, **chosen)
    # Set afterwards: a leading "_" would hide an entry and "$" would start a formula.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(printable(name))


def save_png(figure: Figure, path: str | Path) -> None:
    """Writes a figure as PNG, atomically.

    Raises:
        UserError: The file cannot be written.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        FigureCanvasAgg(figure).print_png(buffer)
    write_atomically(Path(path), buffer.getvalue())
