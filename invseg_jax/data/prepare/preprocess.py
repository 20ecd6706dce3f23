"""From a case on its own grid to the arrays that a network takes.

In this order: axes into a canonical frame, crop to what is not air, normalisation, resampling.
Normalised before it is resampled, so that the air's zeros are told from intensities that
interpolation has mixed with them. `Geometry` records what happened to the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from invseg_jax.data.prepare.geometry import Box, Geometry, nonzero_box
from invseg_jax.data.prepare.loaded_case import LoadedCase
from invseg_jax.data.prepare.normalise import Intensities, normalise
from invseg_jax.data.prepare.resampling import resample, resample_label
from invseg_jax.errors import UserError
from invseg_jax.experiment import Preprocessing


@dataclass
class PreparedCase:
    """A case as a network takes it.

    Attributes:
        image: (*geometry.size, C) float32, normalised.
        label: (*geometry.size) uint8 class indices, or None.
        geometry: where its voxels lie in the file's.
    """

    image: np.ndarray
    label: np.ndarray | None
    geometry: Geometry


def prepare(
    case: LoadedCase, settings: Preprocessing, intensities: Sequence[Intensities] = ()
) -> PreparedCase:
    """Prepares a case.

    Args:
        case: as it was read.
        settings: what to do.
        intensities: of each modality over the foreground of the training cases, if there is any;
            needed by "ct".

    Raises:
        UserError: the settings are for another number of modalities, or need intensities that the
            training cases do not give.
    """
    modalities = case.image.shape[-1]
    schemes = settings.schemes(modalities)
    if settings.measures and len(intensities) != modalities:
        raise UserError(
            "config.data.preprocess.normalisation: ct needs the intensities of the foreground, and "
            "the training cases have none; take z_score"
        )
    box = nonzero_box(case.image)
    geometry = geometry_of(settings, case.image.shape[:3], case.affine, case.oriented, box)
    image = np.empty((*geometry.size, modalities), np.float32)
    for c, scheme in enumerate(schemes):
        channel = geometry.cut(case.image[..., c])
        values = normalise(channel, scheme, intensities[c] if intensities else None)
        if geometry.resamples:
            air = channel == 0 if scheme == "z_score_nonzero" else None
            values = _resampled(values, air, geometry, settings.interpolation)
        image[..., c] = values
    label = None
    if case.label is not None:
        label = geometry.cut(case.label)
        if geometry.resamples:
            label = resample_label(
                label, geometry.step, geometry.size, interpolation=settings.labels
            )
        label = np.ascontiguousarray(label)
    return PreparedCase(image, label, geometry)


def _resampled(
    values: np.ndarray, air: np.ndarray | None, geometry: Geometry, interpolation: str
) -> np.ndarray:
    """On the network's grid; air stays exactly 0, where splines would leave ripples."""
    result = resample(
        values, geometry.step, geometry.size, interpolation=interpolation, smooth=True
    )
    if air is not None:
        there = resample(air, geometry.step, geometry.size, interpolation="nearest")
        result[there > 0] = 0
    return result


def geometry_of(
    settings: Preprocessing,
    shape: Sequence[int],
    affine: np.ndarray,
    oriented: bool,
    nonzero: Box,
) -> Geometry:
    """The grids of a case, from its shape, its affine and the box of its `nonzero_box`."""
    return Geometry.plan(
        shape,
        affine,
        oriented=oriented,
        canonical=settings.canonical,
        spacing=settings.spacing,
        crop=nonzero if settings.crop else None,
        margin=settings.margin,
    )
