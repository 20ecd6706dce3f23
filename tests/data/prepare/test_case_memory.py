"""What a case takes of memory, by its headers: beside what NumPy really takes, by tracemalloc."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from invseg_jax.data.layouts import Case, Dataset
from invseg_jax.data.prepare import case_memory
from invseg_jax.data.prepare.case_memory import Windows, case_demand
from invseg_jax.data.prepare.loaded_case import load_case
from invseg_jax.data.prepare.normalise import Intensities
from invseg_jax.data.prepare.preprocess import prepare
from invseg_jax.experiment import Preprocessing
from invseg_jax.inference.segmentation import TrainedNetwork, segment
from invseg_jax.inference.sliding_window import sliding_window
from tests.nifti_bytes import affine, nifti, save

SHAPE = (80, 64, 56)


class Predictor:
    """Gives the same probabilities for every window."""

    def __init__(self, windows: Windows):
        self.windows = windows

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        w = self.windows
        same = np.full((w.batch, *w.patch, w.outputs), 1 / w.outputs, np.float32)
        return sliding_window(
            lambda patches: same.copy(),
            image,
            patch=w.patch,
            classes=w.outputs,
            overlap=0.25,
            batch=w.batch,
            margin=w.margin,
        )


@pytest.fixture
def write(tmp_path: Path):
    """Writes a case of random voxels; one file a modality, or one of all where `four` is set."""

    def written(
        modalities: int = 1,
        dtype: str = "int16",
        *,
        four: bool = False,
        label: str | None = None,
        matrix: np.ndarray | None = None,
        other: tuple[int, int, int] | None = None,
        **fields,
    ) -> tuple[Dataset, Case]:
        rng = np.random.default_rng(0)
        matrix = affine() if matrix is None else matrix
        shapes = [(*SHAPE, modalities)] if four else [SHAPE, *[other or SHAPE] * (modalities - 1)]
        images = []
        for number, shape in enumerate(shapes):
            spacing = [a / b for a, b in zip(SHAPE, shape, strict=False)]
            own = matrix if shape[:3] == SHAPE else affine(spacing)
            content = nifti((rng.random(shape) * 1000 + 1).astype(dtype), own, **fields)
            images.append(save(tmp_path / f"image{number}.nii", content))
        path = None
        if label is not None:
            values = rng.integers(0, 3, SHAPE).astype(label)
            path = save(tmp_path / "label.nii", nifti(values, matrix))
        case = Case("a", tuple(images), path)
        names = tuple(f"m{number}" for number in range(modalities))
        reference = None if other is None else 0
        return (
            Dataset(
                "d",
                tmp_path,
                names,
                ("background", "a", "b"),
                (0, 1, 2),
                (case,),
                reference=reference,
            ),
            case,
        )

    return written


CT = Preprocessing(normalisation=("ct",))
TURNED = affine((2, 1, 1.5), signs=(-1, -1, 1))[:, [2, 0, 1, 3]]
CASES = {
    "as it is": ({}, Preprocessing(), Windows(3)),
    "float": ({"dtype": "float64"}, Preprocessing(), Windows(3)),
    "scaled": ({"slope": 0.5}, Preprocessing(), Windows(3)),
    "other byte order": ({"end": ">"}, Preprocessing(), Windows(3)),
    "ct": ({}, CT, Windows(3)),
    "labelled": ({"label": "uint8"}, Preprocessing(), Windows(3)),
    "labelled by floats": ({"label": "float32"}, Preprocessing(), Windows(3)),
    "four modalities": ({"modalities": 4, "dtype": "float32"}, Preprocessing(), Windows(3)),
    "four in a file": ({"modalities": 4, "four": True}, Preprocessing(), Windows(3)),
    "other grid": ({"modalities": 2, "other": (100, 80, 72)}, Preprocessing(), Windows(3)),
    "other grid, cubic": (
        {"modalities": 2, "other": (100, 80, 72)},
        Preprocessing(interpolation="cubic"),
        Windows(3),
    ),
    "many classes": ({}, Preprocessing(), Windows(20)),
    "two networks": ({}, Preprocessing(), Windows(3, networks=2)),
    "three networks, many classes": ({}, Preprocessing(), Windows(8, networks=3)),
    "finer": ({}, Preprocessing(spacing=(0.7, 0.7, 0.7)), Windows(3)),
    "finer, cubic": (
        {},
        Preprocessing(spacing=(0.7, 0.7, 0.7), interpolation="cubic"),
        Windows(3),
    ),
    "finer, labelled": ({"label": "uint8"}, Preprocessing(spacing=(0.7, 0.7, 0.7)), Windows(3)),
    "finer, labelled, nearest": (
        {"label": "uint8"},
        Preprocessing(spacing=(0.7, 0.7, 0.7), labels="nearest"),
        Windows(3),
    ),
    "finer, two networks": (
        {"modalities": 2, "four": True},
        Preprocessing(spacing=(0.8, 0.8, 0.8)),
        Windows(3, networks=2),
    ),
    "coarser": ({}, Preprocessing(spacing=(2, 2, 2)), Windows(3)),
    "coarser, cubic": ({}, Preprocessing(spacing=(2, 2, 2), interpolation="cubic"), Windows(3)),
    "coarser, labelled": ({"label": "uint8"}, Preprocessing(spacing=(2, 2, 2)), Windows(3)),
    "finer and coarser": ({}, Preprocessing(spacing=(0.5, 1, 2)), Windows(3)),
    "turned": (
        {"matrix": TURNED},
        Preprocessing(spacing=(1, 1, 1), normalisation=("ct",)),
        Windows(3),
    ),
    "padded": ({}, Preprocessing(spacing=(2, 2, 2)), Windows(3, (56, 56, 56))),
    "margin": ({}, Preprocessing(), Windows(3, margin=6, batch=2)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_case_takes_what_its_headers_foretell(name: str, write):
    files, settings, windows = CASES[name]
    dataset, case = write(**files)
    if windows.patch == (1, 1, 1):
        windows = Windows(
            windows.outputs, (24, 24, 24), windows.margin, windows.batch, windows.networks
        )
    intensities = (Intensities(500.0, 100.0, 500.0, 0.0, 1000.0),) * len(dataset.modalities)
    segmenter = TrainedNetwork(Predictor(windows), settings, intensities)
    tracemalloc.start()
    try:
        loaded = load_case(dataset, case, settings.interpolation)
        segment(loaded, [segmenter] * windows.networks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    foretold = case_demand(dataset, case, settings, windows)
    assert peak <= foretold.bytes
    assert foretold.bytes - case_memory._REST <= 1.3 * peak
    prepared = prepare(loaded, settings, intensities)
    assert foretold.size == prepared.geometry.size
    assert foretold.shape == prepared.geometry.extent


def test_preparing_alone_takes_less(write):
    dataset, case = write(label="uint8")
    settings = Preprocessing(spacing=(0.8, 0.8, 0.8))
    tracemalloc.start()
    try:
        prepare(load_case(dataset, case), settings)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    foretold = case_demand(dataset, case, settings).bytes
    assert peak <= foretold
    assert foretold - case_memory._REST <= 1.3 * peak
    assert foretold < case_demand(dataset, case, settings, Windows(30)).bytes


def test_a_header_of_metres_asks_for_terabytes(tmp_path: Path):
    array = np.ones((24, 28, 20), np.int16)
    path = save(tmp_path / "metres.nii.gz", nifti(array, affine((5000, 5000, 5000))))
    case = Case("far", (path,), None)
    dataset = Dataset("d", tmp_path, ("m",), ("background", "a", "b"), (0, 1, 2), (case,))
    settings = Preprocessing(spacing=(1, 1, 1))
    windows = Windows(3, (16, 16, 16))
    demand = case_demand(dataset, case, settings, windows)
    assert demand.size == (120_000, 140_000, 100_000)
    # The image and three probabilities a voxel, in float32, at least.
    assert demand.bytes > 120_000 * 140_000 * 100_000 * 4 * 4
