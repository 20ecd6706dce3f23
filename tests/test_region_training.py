"""Regions from training to label maps, by the commands, on data in the layout of BraTS 2020."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.evaluation.prediction import predict
from invseg_jax.evaluation.scoring import evaluate
from invseg_jax.experiment import Augmentation, Experiment, base_experiment
from invseg_jax.training.log import TrainingLog
from tests.trained import train

SHAPE = (12, 10, 11)
REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}


def experiment() -> Experiment:
    """Three outputs, two batches a step, gradient descent, and a network that compiles quickly."""
    changes = {
        "augment": replace(Augmentation.off(), flip=None),
        "model.settings.channels": (8, 8),
        "model.settings.auxiliary": 1,
        "data.layout": "brats2020",
        "data.folds": 3,
        "data.patch": (8, 8, 8),
        "data.batch": 2,
        "data.threads": 0,
        "loss.regions": True,
        "loss.squared": True,
        "loss.weights": (1.0, 1.0, 2.0),
        "optimiser.name": "sgd",
        "optimiser.schedule": "polynomial",
        "optimiser.learning_rate": 0.5,
        "optimiser.warmup": 5,
        "optimiser.momentum": 0.9,
        "optimiser.weight_decay": 1e-4,
        "optimiser.accumulate": 2,
        "optimiser.average": 0.8,
        "devices": 1,
        "steps": 60,
        "save_every": 20,
        "eval_every": 60,
        "inference.batch": 1,
    }
    return base_experiment("UNet3D").changed(changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tumours, each a ball in a ball in a ball; the first two without the innermost."""
    root = tmp_path_factory.mktemp("brats")
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*(np.arange(n, dtype=float) for n in SHAPE), indexing="ij")
    for number in range(5):
        centre = rng.uniform(4.5, 5.5, 3)
        radius = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)))
        label = np.select([radius < 2, radius < 3.2, radius < 4.5], [4, 1, 2], 0)
        if number < 2:
            label[label == 4] = 1
        shown = {"t1": label == 1, "t1ce": label == 4, "t2": label > 0, "flair": label == 2}
        case = f"BraTS20_Training_{number + 1:03}"
        (root / case).mkdir()
        for name, bright in shown.items():
            image = np.int16(100 + 200 * bright + rng.normal(0, 20, SHAPE))
            nibabel.Nifti1Image(image, np.eye(4)).to_filename(root / case / f"{case}_{name}.nii.gz")
        nibabel.Nifti1Image(label.astype(np.uint8), np.eye(4)).to_filename(
            root / case / f"{case}_seg.nii.gz"
        )
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run") / "whole"
    train(experiment(), workdir, str(data))
    return workdir


def read(path: Path) -> np.ndarray:
    return np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj)


def test_regions_are_scored_beside_the_classes(data: Path, trained: Path, tmp_path: Path):
    summary = evaluate(trained, tmp_path, split="all")
    assert set(summary["mean"]) == {"dice", "iou", "region_dice"}
    assert set(summary["mean"]["region_dice"]) == {*REGIONS, "mean"}
    # Bright is what is there: even sixty steps find it.
    assert summary["mean"]["region_dice"]["WT"] > 0.8
    assert len(summary["cases"]) == 5
    for case in summary["cases"]:
        truth = read(data / case["id"] / f"{case['id']}_seg.nii.gz")
        found = read(tmp_path / f"{case['id']}.nii.gz")
        assert set(np.unique(found)) <= {0, 1, 2, 4}
        for name, values in REGIONS.items():
            t, p = np.isin(truth, values), np.isin(found, values)
            score = case["region_dice"][name]
            if t.any() or p.any():
                assert score == pytest.approx(2 * (t & p).sum() / (t.sum() + p.sum()), abs=1e-9)
            else:
                assert score is None
    page = (tmp_path / "report.html").read_text()
    assert "Dice of the regions" in page


def test_what_was_validated_are_the_regions(trained: Path):
    rows = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert {"val/dice/WT", "val/dice/TC", "val/dice/ET"} <= rows[-1].keys()
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < 0.5 * losses[0]


def test_prediction_needs_the_images_alone(data: Path, trained: Path, tmp_path: Path):
    evaluate(trained, tmp_path / "eval", split="all")
    for target in predict([trained, trained], data, tmp_path / "maps"):
        np.testing.assert_array_equal(read(target), read(tmp_path / "eval" / target.name))


def test_stopped_between_two_steps_of_two_batches_it_goes_on_bit_for_bit(
    data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Stopped(Exception):
        pass

    advance: Callable = TrainingLog.advance

    def stop_at_31(self: TrainingLog, step: int) -> None:
        advance(self, step)
        if step == 31:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "advance", stop_at_31)
        with pytest.raises(Stopped):
            train(experiment(), tmp_path / "run", str(data))
    train(experiment(), tmp_path / "run", str(data))
    whole, resumed = (arrays(run) for run in (trained, tmp_path / "run"))
    assert whole.keys() == resumed.keys() and len(whole) > 20
    for name, value in whole.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)


def arrays(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the last checkpoint, read without the package's own code."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(workdir.absolute() / "checkpoints" / "60" / "state")
    return {name: np.asarray(leaf) for name, leaf in state.items() if "key" not in name}


def test_a_run_of_classes_is_another_run(data: Path, trained: Path):
    classes = experiment().changed({"loss.regions": False, "loss.weights": ()})
    with pytest.raises(UserError, match=r"another config.loss.regions \(True, now False\)"):
        train(classes, trained, str(data))
    other = experiment().changed({"optimiser.name": "adamw"})
    with pytest.raises(UserError, match=r"config.optimiser.name \(sgd, now adamw\)"):
        train(other, trained, str(data))
