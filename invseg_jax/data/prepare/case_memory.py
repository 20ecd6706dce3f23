"""How much main memory a case takes, worked out from its headers before anything is allocated.

A header of a few hundred bytes can ask for any amount: by its shape, or by voxels so large that the
network's grid of a fixed spacing has more voxels than any machine holds. With V voxels in the file
and N in the network's grid, C modalities, K outputs (classes or regions) of a network and n
networks, a case takes at most these bytes:

    need = max(reading, held + preparing, held + averaged + predicting, held + writing)

    held       = 4 V C + V [if labelled]    the images as float32, the label map as uint8
    reading    = 4 V C + 4 V + largest file: as it is stored, as float32, with two masks; or, of a
                                            modality on another grid, smoothed and resampled
    preparing  = 4 N C + max(normalising = 21 V, resampling)
    predicting = 4 N C + 4 P C [if P > N] + 4 P K + 4 N K [if P > N] + windows
    averaged   = 4 N K [if n > 1]           the probabilities of the networks so far
    writing    = 4 N K + V + slabs, then 14 V without the probabilities

P is N with each axis at least as long as the network's patch. Normalising holds, for one modality,
the result (float32), a mask and two copies as float64. Resampling goes one axis after the other,
and holds its input, twice its output, and the mask of the air. A crop is known only when the voxels
are, so the whole file counts.

The memory of the compiled network on its device is not counted: it does not depend on the case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.data.prepare.geometry import SLAB, Geometry
from invseg_jax.data.prepare.resampling import Triple
from invseg_jax.data.volumes.nifti import read_grid
from invseg_jax.experiment import Preprocessing

# For reading a stream, and for Python's own objects.
_REST = 4 << 20
# Voxels that SciPy adds on each side of an axis before it fits a spline.
_SPLINE_BORDER = 12


@dataclass(frozen=True)
class Windows:
    """How networks segment a case, window by window.

    Attributes:
        outputs: of a network: the classes with the background, or the regions.
        patch: voxels that a window gives.
        margin: voxels around each window that the network sees too.
        batch: windows in one call.
        networks: how many are averaged.
    """

    outputs: int
    patch: Triple = (1, 1, 1)
    margin: int = 0
    batch: int = 1
    networks: int = 1


@dataclass(frozen=True)
class Demand:
    """What a case takes.

    Attributes:
        bytes: of main memory, at most.
        shape: voxels of the file along the axes of the network's grid.
        spacing: of the file along the same axes, in mm.
        size: of the network's grid, in voxels.
    """

    bytes: int
    shape: Triple
    spacing: tuple[float, float, float]
    size: Triple


@dataclass(frozen=True)
class _File:
    """What the header of a volume says."""

    shape: Triple
    channels: int
    stored: int  # bytes of a voxel
    affine: np.ndarray

    @classmethod
    def read(cls, path: Path) -> _File:
        shape, dtype, affine = read_grid(path)
        d, h, w = (*shape, 1, 1, 1)[:3]
        return cls((d, h, w), math.prod(shape[3:]), dtype.itemsize, affine)

    @property
    def voxels(self) -> int:
        return math.prod(self.shape) * self.channels

    def reading(self) -> int:
        """Bytes while it is read: stored voxels, float32 values, and two masks or a float64 volume.

        Integers without a scale stay as they are, which is less.
        """
        planes = 16 * math.prod(self.shape) if self.channels > 1 else 0
        return self.voxels * (self.stored + 4) + max(2 * self.voxels, planes)

    def read_up(self) -> int:
        """Bytes that it keeps once it has been read."""
        return self.voxels * max(self.stored, 4)


def case_demand(
    dataset: Dataset,
    case: Case,
    settings: Preprocessing,
    windows: Windows | None = None,
) -> Demand:
    """Works out what a case takes.

    Args:
        dataset: says how many modalities there are, and onto which the others are resampled.
        case: one of its cases.
        settings: how it is prepared.
        windows: how it is segmented; None where it is only prepared.

    Raises:
        UserError: a header cannot be read, or makes no sense.
    """
    files = [_File.read(path) for path in case.images]
    label = None if case.label is None else _File.read(case.label)
    modalities = len(dataset.modalities)
    first = files[0 if dataset.reference is None or len(files) == 1 else dataset.reference]
    voxels = math.prod(first.shape)
    plan = Geometry.plan(
        first.shape, first.affine, canonical=settings.canonical, spacing=settings.spacing
    )
    size = math.prod(plan.size)
    held = 4 * voxels * modalities + (0 if label is None else voxels)
    prepared = 4 * size * modalities
    steps = [
        _reading(files, first, label, modalities, settings.interpolation),
        held + prepared + _preparing(plan, settings, modalities, labelled=label is not None),
        held + 14 * voxels,
    ]
    if windows is not None:
        averaged = 4 * size * windows.outputs if windows.networks > 1 else 0
        if averaged:  # the first network's probabilities, while the next one's case is prepared
            steps[1] += averaged
        labels = size if label is not None else 0
        steps += [
            held + prepared + labels + averaged + _predicting(plan.size, modalities, windows),
            held + 4 * size * windows.outputs + voxels + _slabs(plan, windows.outputs),
        ]
    return Demand(max(steps) + _REST, plan.extent, plan.spacing, plan.size)


def _reading(
    files: Sequence[_File],
    first: _File,
    label: _File | None,
    modalities: int,
    interpolation: str,
) -> int:
    voxels = math.prod(first.shape)
    image = 4 * voxels * modalities
    steps = [first.reading(), first.read_up() + image]
    before = 0  # a modality is released only when the next one has been read
    for file in files:
        if file is first:
            continue
        own = file.read_up()
        resampled = 4 * file.voxels + 4 * voxels
        if interpolation == "cubic":
            resampled += 12 * _with_border(file.shape)
        more = max(before + file.reading(), own + resampled)
        steps.append(first.read_up() + image + more)
        before = own
    if label is not None:
        # Rounded, compared with the classes, and marked where it is one.
        more = max(label.reading(), label.read_up() + 13 * label.voxels)
        steps.append(first.read_up() + image + more)
    return max(steps)


def _preparing(plan: Geometry, settings: Preprocessing, modalities: int, *, labelled: bool) -> int:
    """Beyond the prepared image."""
    voxels, size = math.prod(plan.extent), math.prod(plan.size)
    given = 4 * (size if plan.resamples else voxels)  # a channel
    before = given + voxels if modalities > 1 else 0
    steps = [modalities * voxels + voxels]  # where it is not air
    for scheme in settings.schemes(modalities):
        steps.append(before + (12 if scheme == "ct" else 21) * voxels)
    if plan.resamples:
        # The normalised channel and its air, beside what `resample` takes.
        steps.append(before + 5 * voxels + _resampling(plan, settings.interpolation))
        steps.append(before + 5 * voxels + 9 * size)
    if labelled:
        steps.append(given + voxels + voxels)
        if plan.resamples:
            # The voxels that the class before has won stay until the next class is there.
            own = max(5 * voxels, 4 * size, _resampling(plan, settings.labels))
            steps.append(given + voxels + 10 * size + 4 * voxels + own)
    return max(steps)


def _resampling(plan: Geometry, interpolation: str) -> int:
    """Beside the array that is resampled: a smoothed copy, then twice the result of each axis."""
    if interpolation == "cubic":
        border = _with_border(plan.extent)
        return 4 * math.prod(plan.extent) + 12 * border + 4 * math.prod(plan.size)
    if interpolation == "nearest":
        return 5 * math.prod(plan.size)
    return _along_axes(plan.extent, plan.size)


def _along_axes(old: Triple, new: Triple) -> int:
    shapes = [(*new[:axis], *old[axis:]) for axis in range(4)]
    sizes = [math.prod(shape) for shape in shapes]
    return max(4 * before + 8 * after for before, after in zip(sizes, sizes[1:], strict=False))


def _predicting(size: Triple, modalities: int, windows: Windows) -> int:
    """Beyond the prepared image."""
    padded = [max(n, p) for n, p in zip(size, windows.patch, strict=True)]
    seen = math.prod(p + 2 * windows.margin for p in windows.patch)
    total = 4 * math.prod(padded) * windows.outputs
    if math.prod(padded) > math.prod(size):
        total += 4 * math.prod(padded) * modalities + 4 * math.prod(size) * windows.outputs
    if windows.margin:
        total += 4 * math.prod(n + 2 * windows.margin for n in padded) * modalities
    # Two batches are under way, and a window is weighted.
    batches = 2 * windows.batch * seen * (modalities + windows.outputs)
    return total + 4 * (batches + 2 * math.prod(windows.patch) * windows.outputs)


def _slabs(plan: Geometry, outputs: int) -> int:
    """The probabilities of some planes on the file's grid, and the classes decided upon there."""
    old, new = plan.size, plan.extent
    plane = max(math.prod(old[1:]), math.prod(new[1:]))
    planes = min(max(1, SLAB // (plane * outputs)), new[0])
    decided = 8 * planes * math.prod(new[1:])  # argmax gives int64
    if not plan.resamples:
        return decided
    slab = 4 * planes * math.prod(new[1:]) * outputs
    return max(_along_axes((planes, *old[1:]), (planes, *new[1:])) * outputs, slab + decided)


def _with_border(shape: Triple) -> int:
    return math.prod(n + 2 * _SPLINE_BORDER for n in shape)
