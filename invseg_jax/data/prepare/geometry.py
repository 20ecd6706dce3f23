"""How the grid that a network sees came from that of the file, and the way back.

The axes are permuted and mirrored into a canonical frame, the volume is cropped, then resampled.
The first two only say which voxel is which: their result is a view of the file's array, so a label
map written through that view is back on the file's grid, exactly.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import inv_ornt_aff, io_orientation

from invseg_jax.data.prepare.resampling import Triple, resample, resampled_shape
from invseg_jax.data.volumes.grid import Axes
from invseg_jax.files.json_values import JsonObject, tuples

Box = tuple[Triple, Triple]  # the first voxel along the three axes, and the number of voxels

# How much two spacings may differ, as a fraction, and be one: headers hold float32.
_SAME_SPACING = 1e-4
# Numbers of a slab, the planes whose probabilities are held at a time on the file's grid.
SLAB = 1 << 22


@dataclass(frozen=True)
class Geometry:
    """Both grids of a prepared case.

    Attributes:
        shape: (D, H, W) of the file, in voxels.
        affine: the file's, (4, 4) as nested tuples, voxel indices to mm.
        oriented: whether the file says which side is left, see `Volume`.
        axes: for each axis of the canonical frame, the file's axis that runs along it.
        mirrored: for each axis of the canonical frame, whether the file's runs the other way.
        start: first voxel of the crop, in the canonical frame.
        extent: voxels of the crop.
        step: spacing of the network's grid along its axes, in voxels of the crop.
        size: (D, H, W) of the network's grid, in voxels.
    """

    shape: Triple
    affine: tuple[tuple[float, ...], ...]
    oriented: bool
    axes: Triple
    mirrored: tuple[bool, bool, bool]
    start: Triple
    extent: Triple
    step: tuple[float, float, float]
    size: Triple

    @classmethod
    def plan(
        cls,
        shape: Sequence[int],
        affine: np.ndarray,
        *,
        oriented: bool = True,
        canonical: bool = False,
        spacing: Sequence[float] | None = None,
        crop: Box | None = None,
        margin: int = 0,
    ) -> Geometry:
        """The grids of a case.

        Args:
            shape: (D, H, W) of the file.
            affine: (4, 4), voxel indices to mm.
            oriented: whether the affine tells which side is left.
            canonical: whether to bring the axes nearest to right, anterior and superior into this
                order and direction. A volume that is not oriented stays as it is.
            spacing: of the network's grid along its axes, in mm; None to keep the file's.
            crop: the voxels to keep, in the file's axes; None for all of them.
            margin: voxels to keep around `crop`.
        """
        affine = np.asarray(affine, np.float64)
        axes, mirrored = np.arange(3), np.zeros(3, bool)
        if canonical and oriented:
            axes, mirrored = map(np.array, canonical_axes(affine))
        full = np.array(shape)[axes]
        start, stop = np.zeros(3, int), full
        if crop is not None:
            low = np.array(crop[0])[axes]
            high = low + np.array(crop[1])[axes]
            low, high = np.where(mirrored, full - high, low), np.where(mirrored, full - low, high)
            start, stop = np.maximum(low - margin, 0), np.minimum(high + margin, full)
        extent = stop - start
        own = np.linalg.norm(affine[:3, :3], axis=0)[axes]
        target = own if spacing is None else np.asarray(spacing, np.float64)
        target = np.where(np.abs(target / own - 1) <= _SAME_SPACING, own, target)
        return cls(
            shape=_ints(shape),
            affine=tuples(affine.tolist()),
            oriented=oriented,
            axes=_ints(axes),
            mirrored=tuple(mirrored.tolist()),
            start=_ints(start),
            extent=_ints(extent),
            step=tuple((target / own).tolist()),
            size=resampled_shape(extent.tolist(), own.tolist(), target.tolist()),
        )

    @classmethod
    def from_json(cls, values: JsonObject) -> Geometry:
        """What `dataclasses.asdict` gave, read from JSON: its lists are tuples again."""
        return cls(**tuples(values))

    @property
    def resamples(self) -> bool:
        """Whether the network's voxels are others than the file's."""
        return self.step != (1.0, 1.0, 1.0)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing of the file along the axes of the canonical frame, in mm."""
        d, h, w = np.linalg.norm(np.array(self.affine)[:3, :3], axis=0)[list(self.axes)].tolist()
        return d, h, w

    @property
    def left_right(self) -> tuple[int, ...]:
        """The axis of the network's grid that runs nearest to left-right.

        All three axes where that is not known: the file does not say which side is left, or its
        affine is sheared so much that no axis is nearest.
        """
        nearest = io_orientation(np.array(self.affine))[:, 0]
        if not self.oriented or not np.isfinite(nearest).all():
            return 0, 1, 2
        return (self.axes.index(int(np.flatnonzero(nearest == 0)[0])),)

    @property
    def network_affine(self) -> np.ndarray:
        """(4, 4) float64, voxel indices of the network's grid to mm."""
        orientation = np.zeros((3, 2))
        orientation[list(self.axes), 0] = range(3)
        orientation[list(self.axes), 1] = np.where(self.mirrored, -1, 1)
        to_file = np.asarray(inv_ornt_aff(orientation, self.shape), np.float64)
        step, size, extent = map(np.array, (self.step, self.size, self.extent))
        to_canonical = np.diag([*self.step, 1.0])
        to_canonical[:3, 3] = self.start + (extent - 1) / 2 - (size - 1) / 2 * step
        return np.array(self.affine) @ to_file @ to_canonical

    def cut(self, array: np.ndarray) -> np.ndarray:
        """What the network's grid covers of an array on the file's grid, before resampling.

        Args:
            array: (D, H, W, ...) in the file's axes.

        Returns:
            (*extent, ...), a view: what is written to it stands in `array`.
        """
        view = Axes(self.axes, self.mirrored).bring(array)
        return view[tuple(slice(s, s + n) for s, n in zip(self.start, self.extent, strict=True))]

    def label_map(
        self,
        probabilities: np.ndarray,
        decide: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """Brings a network's output back to the file's grid.

        Probabilities are interpolated linearly, and decided upon there, some planes at a time: of
        the file's grid, which may be far finer, never more than those is held for all classes.

        Args:
            probabilities: (*size, classes) float32 on the network's grid.
            decide: gives for probabilities (n, H, W, classes) the classes (n, H, W), integers
                below 256; the likeliest one by default.

        Returns:
            (*shape) uint8; 0, the background, outside of the crop.
        """
        if probabilities.shape[:3] != self.size:
            raise ValueError(f"probabilities are {probabilities.shape}, not {self.size} x classes")
        result = np.zeros(self.shape, np.uint8)
        inside = self.cut(result)
        plane = max(math.prod(self.extent[1:]), math.prod(self.size[1:]))
        count = max(1, SLAB // (plane * probabilities.shape[3]))
        back = [1 / step for step in self.step]
        for first in range(0, self.extent[0], count):
            planes = slice(first, first + count)
            slab = probabilities[planes]
            if self.resamples:
                slab = resample(probabilities, back, self.extent, planes=planes)
            inside[planes] = slab.argmax(axis=-1) if decide is None else decide(slab)
        return result

    def file_grid(self, probabilities: np.ndarray, outside: Sequence[float]) -> np.ndarray:
        """Brings probabilities back to the file's grid, interpolated linearly.

        Args:
            probabilities: (*size, outputs) float32 on the network's grid.
            outside: the probability of each output outside of the crop.

        Returns:
            (*shape, outputs) float32, along the axes of the file.
        """
        if probabilities.shape[:3] != self.size:
            raise ValueError(f"probabilities are {probabilities.shape}, not {self.size} x outputs")
        back = [1 / step for step in self.step]
        result = np.empty((*self.shape, probabilities.shape[3]), np.float32)
        for output, other in enumerate(outside):
            channel = probabilities[..., output]
            if self.resamples:
                channel = resample(channel, back, self.extent)
            result[..., output] = other
            self.cut(result[..., output])[...] = channel
        return result


def canonical_axes(affine: np.ndarray) -> tuple[Triple, tuple[bool, bool, bool]]:
    """How the axes of a volume come into the canonical frame: right, anterior, superior.

    Args:
        affine: (4, 4) float64, voxel indices to mm.

    Returns:
        For each axis of the frame the volume's axis that runs nearest to it, and whether it runs
        the other way. In a sheared affine an axis may be near to no axis of the frame: then all
        stay as they are.
    """
    return _canonical_axes(affine[:3, :3].tobytes())


@functools.lru_cache(maxsize=1024)  # the cases of a data set share a few
def _canonical_axes(matrix: bytes) -> tuple[Triple, tuple[bool, bool, bool]]:
    affine = np.eye(4)
    affine[:3, :3] = np.frombuffer(matrix, np.float64).reshape(3, 3)
    orientation = io_orientation(affine)
    if not np.isfinite(orientation).all():
        return (0, 1, 2), (False, False, False)
    axes = np.argsort(orientation[:, 0])
    return _ints(axes), tuple((orientation[axes, 1] < 0).tolist())


def nonzero_box(image: np.ndarray) -> Box:
    """The smallest box that holds every voxel of which some channel is not 0.

    Args:
        image: (D, H, W, C).

    Returns:
        First voxel and number of voxels along D, H, W; the whole volume where all is 0.
    """
    seen = (image != 0).any(axis=-1)
    if not seen.any():
        return (0, 0, 0), _ints(seen.shape)
    start, extent = [], []
    for axis in range(3):
        others = tuple(k for k in range(3) if k != axis)
        inside = np.flatnonzero(seen.any(axis=others))
        start.append(inside[0])
        extent.append(inside[-1] - inside[0] + 1)
    return _ints(start), _ints(extent)


def _ints(values: Any) -> Triple:
    d, h, w = (int(value) for value in values)
    return d, h, w
