"""Settings of the loss: what training makes small."""

import math
from dataclasses import dataclass
from typing import ClassVar

from invseg_jax.experiment.section import Section


@dataclass(frozen=True)
class LossSettings(Section):
    """Weighted sum of a cross-entropy and one minus the mean soft Dice; the default is nnU-Net's.

    Attributes:
        regions: whether the network segments the data set's regions, each by a sigmoid for itself,
            instead of its classes by a softmax over all.
        dice: weight of one minus the mean soft Dice.
        cross_entropy: weight of the cross-entropy: over the classes, or binary for each region.
        weights: in the cross-entropy, of each class (the background first) or region; (): all 1.
        squared: whether the denominator of the Dice has squares, see `losses.soft_dice`.
        per_sample: whether the Dice is taken of each sample and averaged, or of the whole batch.
        background: whether the background counts in the mean Dice. Regions have none.
        smoothing: added to both sides of the Dice's fraction, in voxels.

    Raises:
        UserError: a weight that is negative, all weights 0, or a smoothing that is not above 0.
    """

    KEY: ClassVar[str] = "loss"

    regions: bool = False
    dice: float = 1.0
    cross_entropy: float = 1.0
    weights: tuple[float, ...] = ()
    squared: bool = False
    per_sample: bool = False
    background: bool = False
    smoothing: float = 1.0

    def check(self) -> None:
        """Checks the ranges."""
        for name in ("dice", "cross_entropy", "weights"):
            value = getattr(self, name)
            if not all(0 <= v < math.inf for v in (value if name == "weights" else (value,))):
                raise self.wrong(name, "give 0 or more")
        if self.dice == self.cross_entropy == 0:
            raise self.wrong("dice", f"and so is {self.named('cross_entropy')}: there is no loss")
        if self.weights and not any(self.weights):
            raise self.wrong(
                "weights", f"to leave the cross-entropy out, give {self.named('cross_entropy')}=0"
            )
        # At 0, a class that is in neither map would be 0 / 0.
        if not 0 < self.smoothing < math.inf:
            raise self.wrong("smoothing", "give a number above 0")
