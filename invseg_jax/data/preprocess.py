"""From a case on its own grid to the arrays that a network takes.

In this order: axes into a canonical frame, crop to what is not air, normalisation, resampling.
Normalised before it is resampled, so that the air's zeros are told from intensities that
interpolation has mixed with them. `Geometry` records what happened to the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from invseg_jax.configuration import Config
from invseg_jax.data.geometry import Box, Geometry, nonzero_box
from invseg_jax.data.loaded_case import LoadedCase
from invseg_jax.data.normalise import SCHEMES, Intensities, normalise
from invseg_jax.data.resampling import resample, resample_label
from invseg_jax.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """What is done to a case before a network sees it.

    Attributes:
        canonical: whether the axes are brought into the order and direction of RAS+: to the right,
            to the front, upwards, each the file's axis that runs nearest to it. Then a scan that
            is stored another way looks as those of the training did, and the axes of patches and
            flips have the same meaning in all cases. Analyze files and those without sform and
            qform, which do not say which side is left, stay as they are.
        spacing: of the voxels along the three axes, in mm; None: as in the file.
        interpolation: of intensities: "linear", or "cubic" splines, which are sharper and may
            overshoot at edges. Also of modalities that lie on another grid than the reference.
        labels: how label maps are resampled: "linear", the indicator of each class, of which the
            largest wins; or "nearest".
        crop: whether what is 0 in all modalities is cut off around the rest.
        margin: voxels of it that are kept, of the file's.
        normalisation: of each modality, or one for all: "z_score_nonzero", "z_score" or "ct"; see
            `normalise`.

    Raises:
        UserError: a value that is none of these.
    """

    canonical: bool = True
    spacing: tuple[float, float, float] | None = None
    interpolation: str = "linear"
    labels: str = "linear"
    crop: bool = False
    margin: int = 0
    normalisation: tuple[str, ...] = ("z_score_nonzero",)

    def __post_init__(self):
        """Turns lists, as files give them, into tuples, and checks the values."""
        # "None" on the command line comes as (None,).
        spacing = None if self.spacing in ((None,), ()) else self.spacing
        if spacing is not None:
            try:
                spacing = tuple(float(x) for x in spacing)
            except (TypeError, ValueError):
                spacing = ()
            if len(spacing) != 3 or not all(math.isfinite(x) and x > 0 for x in spacing):
                raise _wrong("spacing", self.spacing, "give three lengths in mm, or None")
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "normalisation", tuple(self.normalisation))
        for name, choices in (
            ("interpolation", ("linear", "cubic")),
            ("labels", ("linear", "nearest")),
        ):
            if getattr(self, name) not in choices:
                raise _wrong(name, getattr(self, name), f"there are {', '.join(choices)}")
        if self.margin < 0:
            raise _wrong("margin", self.margin, "give 0 or more voxels")
        if not self.normalisation or not set(self.normalisation) <= set(SCHEMES):
            raise _wrong("normalisation", self.normalisation, f"there are {', '.join(SCHEMES)}")

    @classmethod
    def of(cls, config: Config) -> Preprocessing:
        """The settings of a configuration.

        Raises:
            UserError: one of them is wrong.
        """
        if "preprocess" not in config.data:
            # A run from before there was a choice: its axes were those of the files.
            return cls(canonical=False)
        return cls(**config.data.preprocess)

    @property
    def measures(self) -> bool:
        """Whether it needs the intensities of the training cases."""
        return "ct" in self.normalisation

    @property
    def grid(self) -> tuple[Any, ...]:
        """What the network's grid depends on: networks that agree in it can be averaged."""
        return self.canonical, self.spacing, self.crop, self.margin if self.crop else 0

    def schemes(self, modalities: int) -> tuple[str, ...]:
        """How each modality is normalised.

        Raises:
            UserError: as many are given as neither one nor the modalities.
        """
        if len(self.normalisation) not in (1, modalities):
            raise _wrong(
                "normalisation", self.normalisation, f"give one for all or {modalities} of them"
            )
        return self.normalisation * (modalities // len(self.normalisation))

    def used(self, modalities: int) -> dict[str, Any]:
        """The settings that a prepared case depends on: not those of steps that are not taken.

        Raises:
            UserError: as `schemes`.
        """
        values = asdict(self) | {"normalisation": self.schemes(modalities)}
        if not self.crop:
            del values["margin"]
        if self.spacing is None:
            del values["interpolation"], values["labels"]
        return values

    def geometry(
        self, shape: Sequence[int], affine: np.ndarray, oriented: bool, nonzero: Box
    ) -> Geometry:
        """The grids of a case, from its shape, its affine and the box of its `nonzero_box`."""
        return Geometry.plan(
            shape,
            affine,
            oriented=oriented,
            canonical=self.canonical,
            spacing=self.spacing,
            crop=nonzero if self.crop else None,
            margin=self.margin,
        )


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
    geometry = settings.geometry(case.image.shape[:3], case.affine, case.oriented, box)
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


def _wrong(name: str, value: object, remedy: str) -> UserError:
    return UserError(f"config.data.preprocess.{name} is {value!r}: {remedy}")
