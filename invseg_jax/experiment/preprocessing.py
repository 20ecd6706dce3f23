"""Settings of the preparation of a case, before a network sees it."""

import math
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from invseg_jax.experiment.section import Section

Scheme = Literal["z_score_nonzero", "z_score", "ct"]


@dataclass(frozen=True)
class Preprocessing(Section):
    """What is done to a case before a network sees it.

    Attributes:
        canonical: whether the axes are brought into the order and direction of RAS+: to the right,
            to the front, upwards, each the file's axis that runs nearest to it. Then a scan that
            is stored another way looks as those of the training did, and the axes of patches and
            flips have the same meaning in all cases. Analyze files and those without sform and
            qform, which do not say which side is left, stay as they are.
        spacing: size of the voxels along the three axes, in mm, to which cases are resampled;
            None: as in the file.
        interpolation: how intensities are resampled: "linear", or "cubic" splines, which are
            sharper and may overshoot at edges. Also of modalities that lie on another grid than the
            reference.
        labels: how label maps are resampled: "linear", the indicator of each class, of which the
            largest wins; or "nearest".
        crop: whether what is 0 in all modalities is cut off around the rest.
        margin: number of the file's voxels around the crop that are kept.
        normalisation: how intensities are normalised, one for all modalities or one for each:
            "z_score_nonzero", "z_score" or "ct"; see `data.normalise`.

    Raises:
        UserError: a value has the wrong type or is out of range.
    """

    KEY: ClassVar[str] = "data.preprocess"

    canonical: bool = True
    spacing: tuple[float, float, float] | None = None
    interpolation: Literal["linear", "cubic"] = "linear"
    labels: Literal["linear", "nearest"] = "linear"
    crop: bool = False
    margin: int = 0
    normalisation: tuple[Scheme, ...] = ("z_score_nonzero",)

    def check(self) -> None:
        """Checks the lengths and the counts."""
        if self.spacing is not None and not all(math.isfinite(x) and x > 0 for x in self.spacing):
            raise self.wrong("spacing", "give three lengths in mm, or None")
        self.at_least(0, "margin")
        if not self.normalisation:
            raise self.wrong("normalisation", "give one for all modalities or one for each")

    @property
    def measures(self) -> bool:
        """Whether it needs the intensities of the training cases."""
        return "ct" in self.normalisation

    @property
    def grid(self) -> tuple[bool, tuple[float, float, float] | None, bool, int]:
        """What the network's grid depends on: networks that agree in it can be averaged."""
        return self.canonical, self.spacing, self.crop, self.margin if self.crop else 0

    def schemes(self, modalities: int) -> tuple[str, ...]:
        """How each modality is normalised.

        Raises:
            UserError: there are neither one normalisation nor one for each modality.
        """
        if len(self.normalisation) not in (1, modalities):
            raise self.wrong("normalisation", f"give one for all or {modalities} of them")
        return self.normalisation * (modalities // len(self.normalisation))

    def used(self, modalities: int) -> dict[str, object]:
        """The settings that a prepared case depends on, without those of steps that are not taken.

        Raises:
            UserError: as `schemes`.
        """
        values: dict[str, object] = asdict(self)
        values["normalisation"] = self.schemes(modalities)
        if not self.crop:
            del values["margin"]
        if self.spacing is None:
            del values["interpolation"], values["labels"]
        return values
