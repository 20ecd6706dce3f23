"""Settings of inference: how a network passes over a whole volume."""

from dataclasses import dataclass
from typing import ClassVar

from invseg_jax.experiment.section import Section


@dataclass(frozen=True)
class InferenceSettings(Section):
    """The windows that pass over a volume, and what is averaged.

    Attributes:
        overlap: least overlap of neighbouring windows, as a fraction of the patch, from 0 to below
            1.
        batch: number of windows in one call.
        mirror: axes D, H and W along which windows are mirrored and averaged; each doubles the
            time. Only axes along which `augment.flip` mirrors in training.

    Raises:
        UserError: a value is out of range.
    """

    KEY: ClassVar[str] = "inference"

    overlap: float = 0.5
    batch: int = 2
    mirror: tuple[bool, bool, bool] = (False, False, False)

    def check(self) -> None:
        """Checks the ranges."""
        self.at_least(1, "batch")
        if not 0 <= self.overlap < 1:
            raise self.wrong("overlap", "give a number from 0 to below 1")
