"""From a case as it is on disk to its label map on the same grid, by one network or several.

Training, evaluation and prediction prepare a case by the same function with the same settings; what
that does to the grid is undone here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from invseg_jax.data.batches.regions import Regions
from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.data.prepare.case_memory import Windows
from invseg_jax.data.prepare.geometry import Geometry
from invseg_jax.data.prepare.loaded_case import LoadedCase
from invseg_jax.data.prepare.normalise import Intensities
from invseg_jax.data.prepare.preprocess import prepare
from invseg_jax.data.prepare.shortage import refuse_shortage
from invseg_jax.experiment import Experiment, Preprocessing
from invseg_jax.inference.mirroring import Mirror
from invseg_jax.inference.network import Network, load_network
from invseg_jax.inference.trained_run import DataDescription, SegmentationRun


class Predictor(Protocol):
    """What segments a prepared image, such as `network.Network`."""

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Probabilities (D, H, W, outputs) of (D, H, W, C), float32, a new array."""
        ...


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network, and how its cases are prepared.

    Attributes:
        network: gives the probabilities.
        settings: of its training.
        intensities: of its training cases, where the settings need them.
        regions: what its probabilities are of, where that is not the classes.
        step: of the checkpoint that the network is from; None where it is from no checkpoint.
    """

    network: Predictor
    settings: Preprocessing
    intensities: tuple[Intensities, ...] = ()
    regions: Regions | None = None
    step: int | None = None


def load_trained_network(
    workdir: Path, mirror: Mirror | None = None
) -> tuple[TrainedNetwork, Experiment, DataDescription]:
    """Reads a run's newest checkpoint that is not damaged, and how its cases are prepared.

    Args:
        workdir: the folder that training wrote.
        mirror: axes along which windows are mirrored too; None: as the run's configuration says.

    Returns:
        The network, the run's experiment (with `mirror`), and what it was trained on.

    Raises:
        UserError: as `load_network`.
    """
    network, experiment, data = load_network(workdir, mirror)
    settings = experiment.data.preprocess
    needed = SegmentationRun(workdir).read_fingerprint().intensities if settings.measures else ()
    return (
        TrainedNetwork(network, settings, needed, network.regions, network.step),
        experiment,
        data,
    )


def refuse_large_case(dataset: Dataset, case: Case, segmenters: Sequence[TrainedNetwork]) -> None:
    """Refuses a case that would take more memory than there is to be read and segmented.

    Args:
        dataset: what the case belongs to.
        case: of which only the headers are read.
        segmenters: the ones that would segment it.

    Raises:
        UserError: it would; the message names the case.
    """
    networks = [each.network for each in segmenters if isinstance(each.network, Network)]
    for network in networks:
        d, h, w = (size - 2 * network.margin for size in network.patch)
        windows = Windows(
            network.outputs, (d, h, w), network.margin, network.batch, len(segmenters)
        )
        refuse_shortage(dataset, case, [each.settings for each in segmenters], windows)


def segment(case: LoadedCase, segmenters: Sequence[TrainedNetwork]) -> np.ndarray:
    """Segments a case; of several networks the mean of the probabilities counts.

    Each network has its own normalisation, as runs on several folds do, but all one grid.

    Args:
        case: as it was read.
        segmenters: at least one, all with the same `settings.grid` and the same regions.

    Returns:
        (D, H, W) uint8 class indices on the case's own grid; 0 outside of the crop.

    Raises:
        UserError: the case does not fit the settings, see `prepare`.
    """
    if len({(segmenter.settings.grid, segmenter.regions) for segmenter in segmenters}) != 1:
        raise ValueError("all segmenters must have the same grid and the same regions")
    regions = segmenters[0].regions
    geometry: Geometry | None = None
    total: np.ndarray | None = None
    for segmenter in segmenters:
        geometry, probabilities = _probabilities(case, segmenter)
        if total is None:
            total = probabilities
        else:
            total += probabilities
        del probabilities  # or it would stay while the next network's are made
    assert geometry is not None and total is not None
    total /= len(segmenters)
    return geometry.label_map(total, None if regions is None else regions.decide)


def probabilities_on_file_grid(case: LoadedCase, network: TrainedNetwork) -> np.ndarray:
    """Probabilities of a case on its own grid.

    Args:
        case: as it was read.
        network: segments it.

    Returns:
        (D, H, W, outputs) float32. Outside of the crop all is background.

    Raises:
        UserError: the case does not fit the settings, see `prepare`.
    """
    geometry, found = _probabilities(case, network)
    background = 0.0 if network.regions is not None else 1.0
    return geometry.file_grid(found, [background] + [0.0] * (found.shape[3] - 1))


def _probabilities(case: LoadedCase, segmenter: TrainedNetwork) -> tuple[Geometry, np.ndarray]:
    """The probabilities of one network; a function, so that the prepared case is freed."""
    prepared = prepare(case, segmenter.settings, segmenter.intensities)
    return prepared.geometry, segmenter.network.probabilities(prepared.image)
