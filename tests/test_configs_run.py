"""Configurations made small, trained, scored and used on data made in their own layout."""

import importlib.util
from pathlib import Path

import nibabel
import numpy as np
import pytest

from invseg_jax.configuration import Config
from invseg_jax.data.nifti import read_volume
from invseg_jax.evaluate import evaluate
from invseg_jax.predict import predict
from invseg_jax.train import train
from invseg_jax.training import compilation_cache

SMALL = {
    "model.settings.channels": (4, 8),
    "model.settings.couplings": 1,
    "data.folds": 3,
    "data.patch": (8, 8, 8),
    "data.batch": 1,
    "devices": 1,
    "steps": 2,
    "log_every": 1,
    "save_every": 2,
    "eval_every": 2,
    "inference.batch": 1,
}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(cache_folder: Path) -> None:
    """What one test compiled, the next one reads."""
    compilation_cache.enable()


def small(repository: Path, name: str, variant: str) -> Config:
    file = repository / "configs" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"small_{name}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(variant)
    config.update_from_flattened_dict(SMALL)
    return config


def save(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, affine).to_filename(path)


def whole_run(config: Config, root: Path, folder: Path, values: set[int]) -> None:
    """Trains, scores the held-out cases, and segments all of them on their own grids."""
    train(config, folder / "run", str(root))
    summary = evaluate(folder / "run", folder / "eval")
    assert len(summary["cases"]) == 1
    targets = predict([folder / "run"], root, folder / "maps")
    assert len(targets) == 3
    for target in targets:
        found = read_volume(target)
        assert set(np.unique(found.array)) <= values
        (reference,) = [
            path
            for path in root.glob("*/*.nii.gz")
            if path.parent.name == target.name.removesuffix(".nii.gz")
            and path.name.endswith(("flair.nii.gz", "mr_t1.nii.gz"))
        ]
        image = read_volume(reference)
        assert found.array.shape == image.array.shape
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-6)


def test_brats_2020(repository: Path, tmp_path: Path):
    rng = np.random.default_rng(0)
    affine = np.diag((-1.0, -1.0, 1.0, 1.0))  # as BraTS has it: to the left, to the back
    affine[:3, 3] = (0, 239, 0)
    for number in (7, 355, 12):
        case = f"BraTS20_Training_{number:03}"
        shape = (13, 15, 11)
        brain = np.zeros(shape, bool)
        brain[2:-2, 2:-3, 1:-1] = True
        label = np.where(brain, rng.choice([0, 1, 2, 4], shape, p=[0.7, 0.1, 0.1, 0.1]), 0)
        for name in ("t1", "t1ce", "t2", "flair"):
            image = brain * (rng.integers(50, 400, shape) + 40 * label)
            save(
                image.astype(np.int16), affine, tmp_path / "brats" / case / f"{case}_{name}.nii.gz"
            )
        # The one whose label map has another name.
        name = "W39_1998.09.19_Segm" if number == 355 else f"{case}_seg"
        save(label.astype(np.uint8), affine, tmp_path / "brats" / case / f"{name}.nii.gz")
    config = small(repository, "brats", "brats2020")
    whole_run(config, tmp_path / "brats", tmp_path, {0, 1, 2, 4})


def test_sarcoma(repository: Path, tmp_path: Path):
    rng = np.random.default_rng(1)
    mr = np.array([[0.98, 0, 0, -5], [0, 0.98, 0.1, 3], [0, -0.03, 3.27, 1], [0, 0, 0, 1.0]])
    pet = np.diag((4.0, 4.0, 3.27, 1.0))
    pet[:3, 3] = (-9, -1, -2)
    for number in (2, 3, 11):
        folder = tmp_path / "sarcoma" / f"STS_{number:03}"
        label = np.zeros((17, 14, 9), np.uint8)
        label[5:11, 4:9, 2:6] = 1
        save(
            (rng.gamma(4, 60, label.shape) + 90 * label).astype(np.float32),
            mr,
            folder / "mr_t1.nii.gz",
        )
        save(rng.gamma(2, 1, (7, 6, 11)).astype(np.float32), pet, folder / "pet.nii.gz")
        save(label, mr, folder / "tumour.nii.gz")
    whole_run(small(repository, "sarcoma", "cpu"), tmp_path / "sarcoma", tmp_path, {0, 1})
