"""What the training cases of a data set are like: sizes, spacings, intensities, classes.

Each case is measured on its own, so that one that is added or changed costs its own measurement;
the fingerprint puts them together. As in nnU-Net (Isensee et al. 2021), intensities are those of
the foreground, of up to `SAMPLED_VOXELS` voxels a case.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from invseg_jax.data.geometry import Box, nonzero_box, to_tuples
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.loaded_case import LoadedCase
from invseg_jax.data.normalise import Intensities
from invseg_jax.data.preprocess import Preprocessing
from invseg_jax.data.resampling import Triple, resampled_shape

SAMPLED_VOXELS = 10_000


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
    """

    shape: Triple
    affine: tuple[tuple[float, ...], ...]
    oriented: bool
    nonzero: Box
    voxels: tuple[int, ...]
    sample: np.ndarray

    def described(self) -> dict[str, Any]:
        """All but the sample, as JSON can hold it."""
        names = (field.name for field in fields(self) if field.name != "sample")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of(cls, described: dict[str, Any], sample: np.ndarray) -> Measurement:
        """What `described` gave, read from JSON, and the sample."""
        return cls(sample=sample, **{n: to_tuples(v) for n, v in described.items()})


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
        affine=to_tuples(case.affine.tolist()),
        oriented=case.oriented,
        nonzero=nonzero_box(case.image),
        voxels=tuple(int(np.count_nonzero(case.label == index)) for index in range(classes)),
        sample=case.image[np.unravel_index(foreground, shape)],
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
    """

    cases: tuple[str, ...]
    shapes: tuple[Triple, ...]
    spacings: tuple[tuple[float, float, float], ...]
    modalities: tuple[str, ...]
    intensities: tuple[Intensities, ...]
    classes: tuple[str, ...]
    frequencies: tuple[float, ...]

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
            settings.geometry(m.shape, np.array(m.affine), m.oriented, m.nonzero)
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
        )

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
        values: dict[str, Any] = json.loads(text)
        intensities = tuple(Intensities(**entry) for entry in values.pop("intensities"))
        return cls(intensities=intensities, **{n: to_tuples(v) for n, v in values.items()})


def _intensities(values: np.ndarray) -> Intensities:
    values = values.astype(np.float64)
    low, median, high = np.percentile(values, (0.5, 50, 99.5)).tolist()
    return Intensities(float(values.mean()), float(values.std()), median, low, high)
