"""Configurations made small, trained, scored and used on data made in their own layout."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from invseg_jax.data.volumes.nifti import read_volume
from invseg_jax.errors import UserError
from invseg_jax.evaluation.prediction import predict
from invseg_jax.evaluation.scoring import evaluate
from invseg_jax.experiment import Experiment, read_experiment
from tests.trained import train

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
    "optimiser.warmup": 1,
}


def small(repository: Path, name: str, variant: str) -> Experiment:
    return read_experiment(f"{repository / 'configs' / name}.py:{variant}", SMALL)


def save(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, affine).to_filename(path)


def whole_run(config: Experiment, root: Path, folder: Path, values: set[int]) -> None:
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


@pytest.mark.parametrize("variant", ["sparse", "semi"])
def test_sparse_annotation(repository: Path, tmp_path: Path, variant: str):
    """Fully automated: the held-out cases are scored. Semi-automated: what nobody annotated."""
    rng = np.random.default_rng(2)
    root, entries = tmp_path / "data", []
    for number in range(4):
        label = np.zeros((12, 13, 10), np.uint8)
        label[3:9, 3:7, 2:8], label[3:9, 7:11, 2:8] = 1, 2
        name = f"hippocampus_{number:03}.nii.gz"
        save((rng.normal(size=label.shape) + 3 * label).astype(np.float32), np.eye(4), root / name)
        save(label, np.eye(4), root / "labelsTr" / name)
        entries.append({"image": f"./{name}", "label": f"./labelsTr/{name}"})
    described = {"modality": {"0": "MRI"}, "labels": {"0": "no", "1": "front", "2": "back"}}
    (root / "dataset.json").write_text(json.dumps(described | {"training": entries}))

    run, semi = tmp_path / "run", variant == "semi"
    chosen = ("hippocampus_001", "hippocampus_003") if semi else ()
    config = small(repository, "hippocampus", variant).changed(
        {"data.folds": 1 if semi else 4, "data.cases": chosen}
    )
    train(config, run, str(root))
    summary = evaluate(run, tmp_path / "eval", split="train" if semi else "val")
    # Of 3 to 9, 3 to 11 and 2 to 8, three slices of each: 3 x 5 x 3 of 6 x 8 x 6 are left.
    counted = [sum(v["truth"] for v in case["voxels"].values()) for case in summary["cases"]]
    assert counted == ([45, 45] if semi else [6 * 8 * 6])
    assert [case["id"] for case in summary["cases"]] == [*config.data.cases] or not semi
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert any("val/dice/mean" in row for row in history) == (not semi)
    assert (run / "progress.png").stat().st_size > 5000
    if semi:  # the others are no part of this data
        with pytest.raises(UserError, match="no labelled case of the split 'val'"):
            evaluate(run, tmp_path / "eval")
    (target,) = predict([run], root / "hippocampus_001.nii.gz", tmp_path / "maps")
    assert read_volume(target).array.shape == (12, 13, 10)
