"""What the training cases of a data set are like: sizes, spacings, intensities, classes.

Each case is measured on its own, so that one that is added or changed costs its own measurement;
the fingerprint puts them together. As in nnU-Net (Isensee et al. 2021), intensities are taken from
the foreground, up to `SAMPLED_VOXELS` voxels a case. Percentiles of the whole image are kept too: a
case to be predicted has no label map, so only its whole image can be compared.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np

from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.prepare.geometry import Box, nonzero_box
from invseg_jax.data.prepare.loaded_case import LoadedCase
from invseg_jax.data.prepare.normalise import Intensities
from invseg_jax.data.prepare.preprocess import geometry_of
from invseg_jax.data.prepare.resampling import Triple, resampled_shape
from invseg_jax.experiment import Preprocessing
from invseg_jax.files.json_values import JsonObject, tuples

SAMPLED_VOXELS = 10_000
# In a larger image, every k-th voxel gives the percentiles.
WHOLE_VOXELS = 1 << 16


@dataclass(frozen=True)
class WholeImage:
    """How the intensities of one modality of one case are distributed over all voxels.

    Attributes:
        minimum: of all voxels, in the file's units.
        low: 0.5th percentile.
        median: 50th percentile.
        high: 99.5th percentile.
    """

    minimum: float
    low: float
    median: float
    high: float

    @classmethod
    def of(cls, channel: np.ndarray) -> WholeImage:
        """Measures a modality.

        Args:
            channel: (D, H, W), real. Where it has more than `WHOLE_VOXELS` voxels, a regular sample
                gives the percentiles.
        """
        step = -(-channel.size // WHOLE_VOXELS)
        # A step that shares a factor with an axis would miss whole planes.
        while math.gcd(step, channel.size) > 1:
            step += 1
        sample = channel.flat[::step].astype(np.float64)
        low, median, high = np.percentile(sample, (0.5, 50, 99.5)).tolist()
        return cls(float(channel.min()), low, median, high)


@dataclass
class Measurement:
    """What is known of one case.

    Attributes:
        shape: (D, H, W) of the file.
        affine: the file's, (4, 4) as nested tuples.
        oriented: whether the affine says which side is left.
        nonzero: the box of what is not air, see `nonzero_box`.
        voxels: how many there are of each class.
        sample: (m, C) float32, intensities of foreground voxels.
        whole: of each modality, its intensities over the whole image.
    """

    shape: Triple
    affine: tuple[tuple[float, ...], ...]
    oriented: bool
    nonzero: Box
    voxels: tuple[int, ...]
    sample: np.ndarray
    whole: tuple[WholeImage, ...] = ()

    def described(self) -> JsonObject:
        """All but the sample, as JSON can hold it."""
        names = (field.name for field in fields(self) if field.name != "sample")
        values = {name: getattr(self, name) for name in names}
        return values | {"whole": [asdict(modality) for modality in self.whole]}

    @classmethod
    def of(cls, described: JsonObject, sample: np.ndarray) -> Measurement:
        """What `described` gave, read from JSON, and the sample."""
        values = tuples({n: v for n, v in described.items() if n != "whole"})
        return cls(sample=sample, whole=_whole(described["whole"]), **values)


def measure(case: LoadedCase, classes: int, rng: np.random.Generator) -> Measurement:
    """Measures a case that has a label map.

    Args:
        case: as it was read.
        classes: how many there are, with the background.
        rng: draws the sample, without replacement, where the foreground is the larger.
    """
    assert case.label is not None
    foreground = np.flatnonzero((case.label > 0) & (case.label != IGNORED))
    if foreground.size > SAMPLED_VOXELS:
        foreground = np.sort(rng.choice(foreground, SAMPLED_VOXELS, replace=False))
    shape = case.image.shape[:3]
    return Measurement(
        shape=shape,
        affine=tuples(case.affine.tolist()),
        oriented=case.oriented,
        nonzero=nonzero_box(case.image),
        voxels=tuple(int(np.count_nonzero(case.label == index)) for index in range(classes)),
        sample=case.image[np.unravel_index(foreground, shape)],
        whole=tuple(WholeImage.of(channel) for channel in np.moveaxis(case.image, -1, 0)),
    )


@dataclass(frozen=True)
class Fingerprint:
    """The training cases of a data set.

    Attributes:
        cases: their ids.
        shapes: (D, H, W) of each in voxels, its axes in the canonical frame and cropped where the
            settings say so, but not resampled.
        spacings: of each along the same axes, in mm.
        modalities: names.
        intensities: of each modality over the foreground; empty where no case has any.
        classes: names, the background first.
        frequencies: each class's share of all labelled voxels.
        whole: for each case, the intensities of each modality over the whole image; empty in runs
            of earlier versions.
        oriented: for each case, whether its file says which side is left; empty likewise.
        left_right: the axes of the network's grid that run, or may run, from left to right in some
            case, see `Geometry.left_right`; empty likewise.
    """

    cases: tuple[str, ...]
    shapes: tuple[Triple, ...]
    spacings: tuple[tuple[float, float, float], ...]
    modalities: tuple[str, ...]
    intensities: tuple[Intensities, ...]
    classes: tuple[str, ...]
    frequencies: tuple[float, ...]
    whole: tuple[tuple[WholeImage, ...], ...] = ()
    oriented: tuple[bool, ...] = ()
    left_right: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        measured: dict[str, Measurement],
        modalities: Sequence[str],
        classes: Sequence[str],
        settings: Preprocessing,
    ) -> Fingerprint:
        """Puts the measurements of the training cases together.

        Args:
            measured: by id, at least one.
            modalities: names.
            classes: names.
            settings: of the canonical frame and the crop.
        """
        grids = [
            geometry_of(settings, m.shape, np.array(m.affine), m.oriented, m.nonzero)
            for m in measured.values()
        ]
        voxels = np.sum([m.voxels for m in measured.values()], axis=0)
        sample = np.concatenate([m.sample for m in measured.values()])
        return cls(
            cases=tuple(measured),
            shapes=tuple(grid.extent for grid in grids),
            spacings=tuple(grid.spacing for grid in grids),
            modalities=tuple(modalities),
            intensities=tuple(_intensities(values) for values in sample.T if values.size),
            classes=tuple(classes),
            frequencies=tuple((voxels / max(voxels.sum(), 1)).tolist()),
            whole=tuple(m.whole for m in measured.values()),
            oriented=tuple(m.oriented for m in measured.values()),
            left_right=tuple(sorted({axis for grid in grids for axis in grid.left_right})),
        )

    def median_spacing(self, spacing: Sequence[float] | None) -> tuple[float, float, float]:
        """The median voxel size along each axis of the network's grid, in mm.

        Args:
            spacing: that cases are resampled to, in mm; None if they are not.
        """
        d, h, w = spacing or (statistics.median(axis) for axis in zip(*self.spacings, strict=True))
        # Affines are float32 in files: 1.0000001 is meant to be 1.
        return round(d, 4), round(h, 4), round(w, 4)

    def median_size(self, spacing: Sequence[float] | None) -> Triple:
        """The median along each axis of what a network sees of the cases, in voxels.

        Args:
            spacing: that they are resampled to, in mm; None if they are not.
        """
        sizes = [
            resampled_shape(shape, own, spacing or own)
            for shape, own in zip(self.shapes, self.spacings, strict=True)
        ]
        d, h, w = (int(statistics.median_high(axis)) for axis in zip(*sizes, strict=True))
        return d, h, w

    def to_json(self) -> str:
        """As text, for a file."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """What `to_json` gave.

        Raises:
            ValueError, KeyError, TypeError: the text is not that.
        """
        values: JsonObject = json.loads(text)
        intensities = tuple(Intensities(**entry) for entry in values.pop("intensities"))
        whole = tuple(_whole(case) for case in values.pop("whole", ()))
        return cls(intensities=intensities, whole=whole, **tuples(values))


def _intensities(values: np.ndarray) -> Intensities:
    values = values.astype(np.float64)
    low, median, high = np.percentile(values, (0.5, 50, 99.5)).tolist()
    return Intensities(float(values.mean()), float(values.std()), median, low, high)


def _whole(modalities: Sequence[dict[str, float]]) -> tuple[WholeImage, ...]:
    return tuple(WholeImage(**modality) for modality in modalities)
