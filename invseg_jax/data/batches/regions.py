"""Regions: classes that are segmented as one, and may overlap, such as BraTS's whole tumour.

A network that segments regions has one output each, and each is decided upon for itself. On disk
there is one label map all the same: where a region is, its value is written over those of the
regions before it (nnU-Net's `regions_class_order`). For BraTS that is 2 in the whole tumour, 1 in
the tumour core over it, 4 in the enhancing tumour over both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from invseg_jax.data.layouts.case import Dataset, Region
from invseg_jax.errors import UserError
from invseg_jax.experiment import LossSettings


@dataclass(frozen=True)
class Regions:
    """The regions of a data set in terms of its classes.

    Attributes:
        names: of the regions.
        members: the class indices that each is made of.
        written: the class index that each leaves in a label map, over those before it.
    """

    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    written: tuple[int, ...]

    @classmethod
    def of(cls, regions: Sequence[Region], values: Sequence[int]) -> Regions | None:
        """Regions as a data set gives them, whose classes have `values` on disk; None for none."""
        if not regions:
            return None
        index = {value: number for number, value in enumerate(values)}
        return cls(
            names=tuple(region.name for region in regions),
            members=tuple(tuple(index[value] for value in region.values) for region in regions),
            written=tuple(index[region.written] for region in regions),
        )

    @classmethod
    def apart(cls, count: int) -> Regions:
        """Regions of a class each, to compile a step where no data set says what they are."""
        indices = range(1, count + 1)
        return cls(tuple(map(str, indices)), tuple((i,) for i in indices), tuple(indices))

    def __len__(self) -> int:
        """How many, which is how many outputs a network has."""
        return len(self.names)

    def masks(self, labels: jax.Array) -> jax.Array:
        """Where each region is, on the device.

        Args:
            labels: class indices of any shape; `IGNORED` is in no region.

        Returns:
            (*shape, regions) bool.
        """
        found = []
        for members in self.members:
            inside = labels == members[0]
            for index in members[1:]:
                inside |= labels == index
            found.append(inside)
        return jnp.stack(found, axis=-1)

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """The label map of probabilities: a region is where its own is above one half.

        Args:
            probabilities: (..., regions).

        Returns:
            (...) uint8 class indices; 0, the background, where no region is.
        """
        result = np.zeros(probabilities.shape[:-1], np.uint8)
        for number, index in enumerate(self.written):
            result[probabilities[..., number] > 0.5] = index
        return result


def regions_to_segment(settings: LossSettings, dataset: Dataset) -> Regions | None:
    """The regions that a network is trained to segment; None where it segments the classes.

    Raises:
        UserError: regions are asked for and the data set has none, or the loss has other than one
            weight for each output.
    """
    regions = Regions.of(dataset.regions, dataset.values) if settings.regions else None
    if settings.regions and regions is None:
        raise UserError(
            f"config.loss.regions: the data in {dataset.root} have no regions; "
            "the layout brats2020 has, and nnunet where dataset.json names them"
        )
    names = dataset.classes if regions is None else regions.names
    if len(settings.weights) not in (0, len(names)):
        raise UserError(
            f"config.loss.weights has {len(settings.weights)} numbers; give one for each of "
            f"{', '.join(names)}, or none"
        )
    return regions
