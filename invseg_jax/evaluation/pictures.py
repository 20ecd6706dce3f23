"""Pictures of a segmentation, as PNG files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from nibabel.orientations import apply_orientation, io_orientation

from invseg_jax.files.printable import printable
from invseg_jax.runs.figure import DPI, add_legend, class_colours, save_png

_GROUND, _INK = "black", "#dddddd"


class _Plane(NamedTuple):
    """A cut across one axis of a volume in RAS: of the other two, one runs right and one up."""

    name: str
    axis: int
    right: int
    up: int
    sides: str  # what lies at the left and at the right border of the picture


_PLANES = (
    _Plane("axial", axis=2, right=0, up=1, sides="LR"),
    _Plane("coronal", axis=1, right=0, up=2, sides="LR"),
    _Plane("sagittal", axis=0, right=1, up=2, sides="PA"),
)


def foreground_centre(labels: np.ndarray, spacing: Sequence[float] = (1, 1, 1)) -> tuple[int, ...]:
    """The foreground voxel nearest to the centroid of the foreground.

    The centroid itself may lie outside (a shell, two hippocampi); cuts through this voxel always
    show foreground. Without any foreground it is the middle of the volume.
    """
    inside = np.flatnonzero(labels)
    if inside.size == 0:
        return tuple(n // 2 for n in labels.shape)
    inside = inside[:: max(1, inside.size // 100_000)]  # enough for a picture
    voxels = np.stack(np.unravel_index(inside, labels.shape), axis=1)
    distance = (voxels - voxels.mean(axis=0)) * np.asarray(spacing, float)
    nearest = voxels[np.argmin((distance**2).sum(axis=1))]
    return tuple(int(v) for v in nearest)


def overlay(
    path: str | Path,
    *,
    image: np.ndarray,
    prediction: np.ndarray,
    truth: np.ndarray | None,
    classes: Sequence[str],
    affine: np.ndarray | None = None,
    spacing: Sequence[float] | None = None,
    title: str = "",
) -> None:
    """Draws three orthogonal cuts: the image alone, the truth and the prediction side by side.

    The cuts go through the centre of the true foreground (of the prediction's where there is no
    truth). Superior is at the top, in the axial cut anterior, and the patient's right is at the
    right of the picture (the neurological convention). With an affine the anatomical direction of
    each axis is the one it runs along most nearly, and the sides are lettered; without it the axes
    are taken as those of RAS and the sides bear no letters. Slice numbers are the file's, from 0.

    Args:
        path: PNG file to write, atomically.
        image: One channel (D, H, W).
        prediction: Class indices (D, H, W).
        truth: Class indices (D, H, W), or None where there is none.
        classes: Names, background first; gives the legend.
        affine: (4, 4), voxel indices to mm in RAS+ world space, as NIfTI has it; None where the
            orientation is not known.
        spacing: Voxel size along the three axes in mm; by default that of the affine, else 1.
        title: Line above the pictures.

    Raises:
        ValueError: The arrays differ in shape or are not three-dimensional, or the affine gives an
            axis no direction.
        UserError: The file cannot be written.
    """
    maps = {"image": image, "truth": truth, "prediction": prediction}
    columns = {name: array for name, array in maps.items() if array is not None}
    for name, array in columns.items():
        if image.ndim != 3 or array.shape != image.shape:
            raise ValueError(f"image {image.shape} is not (D, H, W) like {name} {array.shape}")
    orientation = _orientation(affine)
    if spacing is not None:
        voxel = np.asarray(spacing, float)
    else:
        voxel = np.ones(3) if affine is None else np.linalg.norm(affine[:3, :3], axis=0)

    # From here on the axes are those of RAS; only the slice numbers go back to the file's.
    columns = {name: apply_orientation(array, orientation) for name, array in columns.items()}
    file_axes = np.argsort(orientation[:, 0])
    sizes: list[float] = voxel[file_axes].tolist()
    shape = columns["image"].shape
    reference = columns["truth"] if truth is not None and truth.any() else columns["prediction"]
    centre = foreground_centre(reference, sizes)
    backwards = orientation[file_axes, 1] < 0
    slices = [n - 1 - c if b else c for n, c, b in zip(shape, centre, backwards, strict=True)]
    low, high = _grey_window(image)
    ground = low if _black_ground(image) else 0.0
    colours = np.vstack([np.zeros(3), class_colours(len(classes) - 1)])

    # Everything is laid out in inches, so that each cut has its true proportions and no more room
    # than it needs.
    extent = [n * s for n, s in zip(shape, sizes, strict=True)]
    widest = max(extent[plane.right] for plane in _PLANES)
    tallest = sum(extent[plane.up] for plane in _PLANES)
    scale = min(3.0 / widest, 12.0 / tallest)
    heights = [max(extent[plane.up] * scale, 0.25) for plane in _PLANES]
    cell, left, gap = max(widest * scale, 1.2), 0.45, 0.08
    width = left + len(columns) * (cell + gap)
    legend_columns, bottom = _legend_size(classes[1:], width)
    top = 0.65 if title else 0.35
    height = top + sum(heights) + gap * len(_PLANES) + bottom
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=_GROUND)

    y = height - top
    for plane, tall in zip(_PLANES, heights, strict=True):
        y -= tall
        box = (0.0, extent[plane.right], 0.0, extent[plane.up])
        # rot90 makes the second of the two axes go up.
        cuts = {k: np.rot90(a.take(centre[plane.axis], plane.axis)) for k, a in columns.items()}
        grey = cuts["image"].astype(np.float32)
        grey[grey == 0] = ground
        for column, (name, labels) in enumerate(cuts.items()):
            x = left + column * (cell + gap)
            axes = figure.add_axes((x / width, y / height, cell / width, tall / height))
            axes.set_axis_off()
            axes.imshow(grey, cmap="gray", vmin=low, vmax=high, extent=box, aspect="equal")
            if name != "image":
                axes.imshow(_paint(labels, colours), extent=box, interpolation="nearest")
            elif affine is not None:
                _letter(axes, plane.sides)
        _name_cut(figure, plane.name, slices[plane.axis], (y + tall / 2) / height, tall)
        y -= gap
    for column, name in enumerate(columns):
        x = left + column * (cell + gap) + cell / 2
        _write(figure, x / width, (height - top + 0.1) / height, name)
    if title:
        _write(figure, 0.5, (height - 0.22) / height, title, size=12)
    _legend(figure, classes[1:], colours[1:], legend_columns)
    save_png(figure, path)


def _orientation(affine: np.ndarray | None) -> np.ndarray:
    """For each file axis the axis of RAS that it runs along (3, 2), and 1 or -1 for which way."""
    orientation = io_orientation(np.eye(4) if affine is None else affine)
    if not np.isfinite(orientation).all():
        raise ValueError(f"an axis has no direction in the affine {np.asarray(affine).tolist()}")
    return orientation.astype(int)


def _grey_window(image: np.ndarray) -> tuple[float, float]:
    """Black and white point: the 0.5 and 99.5 percentiles without the zeros outside the body."""
    seen = image[np.isfinite(image) & (image != 0)]
    if seen.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(seen[:: max(1, seen.size // 1_000_000)], (0.5, 99.5))
    return float(low), float(high if high > low else low + 1.0)


def _black_ground(image: np.ndarray) -> bool:
    """Whether zero means "outside": z-scores keep it there, where it would be drawn mid-grey."""
    corners = image[tuple(np.ix_(*[[0, -1]] * 3))]
    return bool(np.count_nonzero(corners == 0) > 4)


def _paint(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """RGBA (rows, columns, 4) of a cut: clear ground, tinted inside, a firm line at the border."""
    padded = np.pad(labels, 1, mode="edge")
    around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    border = np.any([labels != other for other in around], axis=0)
    alpha = np.where(labels == 0, 0.0, np.where(border, 0.85, 0.5))
    return np.concatenate([colours[labels], alpha[..., None]], axis=-1)


def _letter(axes: Axes, sides: str) -> None:
    """Names the left and the right side within the cut, legible on black and on white."""
    for letter, x, edge in zip(sides, (4, -4), ("left", "right"), strict=True):
        axes.annotate(
            letter,
            xy=(0.0 if edge == "left" else 1.0, 0.5),
            xycoords="axes fraction",
            xytext=(x, 0),
            textcoords="offset points",
            color="white",
            size=11,
            ha=edge,
            va="center",
            path_effects=[withStroke(linewidth=2.5, foreground=_GROUND)],
        )


def _name_cut(figure: Figure, plane: str, number: int, y: float, room: float) -> None:
    """Writes what a row shows at its left; `room` is its height in inches."""
    x, label = 0.22 / figure.get_figwidth(), f"{plane}, slice {number}"
    if len(label) * 0.075 > room + 0.08:  # too long to stand upright beside the cut
        _write(figure, x, y, f"{plane[:3]}. {number}", size=6)
    else:
        _write(figure, x, y, label, turn=90, size=9)


def _write(
    figure: Figure, x: float, y: float, text: str, *, turn: float = 0, size: float = 10
) -> None:
    text = printable(text)
    figure.text(
        x, y, text, color=_INK, size=size, rotation=turn, ha="center", va="center", parse_math=False
    )


def _legend_size(names: Sequence[str], width: float) -> tuple[int, float]:
    """Columns and height in inches of the legend, from the longest name."""
    entry = 0.45 + 0.09 * max((len(printable(n)) for n in names), default=0)
    columns = max(1, min(len(names), int(width / entry)))
    return columns, 0.15 + 0.25 * math.ceil(len(names) / columns)


def _legend(figure: Figure, names: Sequence[str], colours: np.ndarray, columns: int) -> None:
    if names:
        add_legend(
            figure,
            [Patch(facecolor=tuple(c)) for c in colours],
            names,
            loc="lower center",
            ncols=columns,
            labelcolor=_INK,
            fontsize=10,
            borderaxespad=0.2,
            handlelength=1.2,
        )
