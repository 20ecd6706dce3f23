"""What the segmentation task settles by the data, and what it tells the trainer."""

import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.data.augment.affine import affine_matrix
from invseg_jax.data.prepare.fingerprint import Fingerprint
from invseg_jax.data.prepare.normalise import Intensities
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.segmentation.task import SegmentationTask
from invseg_jax.training.task import Part
from tests.tiny_run import tiny_config

THREE = Fingerprint(
    cases=("a", "b", "c"),
    shapes=((4, 5, 6),) * 3,
    spacings=((1.0, 0.98, 3.0), (1.0000001, 0.98, 3.3), (1.2, 1.0, 2.5)),
    modalities=("T1",),
    intensities=(Intensities(1.0, 2.0, 3.0, 4.0, 5.0),),
    classes=("background", "front"),
    frequencies=(0.75, 0.25),
)


def open_task(root: Path, **changes) -> tuple[SegmentationTask, list[str]]:
    said: list[str] = []
    task = SegmentationTask.open(
        tiny_config().changed(changes), str(root), said.append, known_by="voxels"
    )
    return task, said


def test_the_median_spacing_is_that_of_the_training_cases_or_of_the_grid():
    assert THREE.median_spacing(None) == (1.0, 0.98, 3.0)
    assert THREE.median_spacing((2.0, 2.0, 4.0)) == (2.0, 2.0, 4.0)


def test_rotations_act_in_the_millimetres_of_the_data(balls: Path):
    task, _ = open_task(balls)
    # The balls' voxels are 1.5 x 1 x 2 mm (tests/tiny_run.py).
    assert task.experiment.augment.spacing == (1.5, 1.0, 2.0)
    assert task.objective.augment == task.experiment.augment
    assert task.description.files["config.json"]["augment"]["spacing"] == [1.5, 1.0, 2.0]
    given, _ = open_task(balls, **{"augment.spacing": (1.0, 1.0, 1.0)})
    assert given.experiment.augment.spacing == (1.0, 1.0, 1.0)
    resampled, _ = open_task(balls, **{"data.preprocess.spacing": (2.0, 2.0, 2.5)})
    assert resampled.experiment.augment.spacing == (2.0, 2.0, 2.5)


def test_a_rotation_by_a_right_angle_keeps_lengths_in_millimetres():
    spacing = (1.5, 1.0, 2.0)
    angles, scale = jnp.asarray([0.0, 0.0, np.pi / 2]), jnp.ones(3)
    matrix = np.asarray(affine_matrix(angles, scale, spacing), np.float64)
    for voxels in np.eye(3):
        before = np.linalg.norm(voxels * spacing)
        assert np.linalg.norm(matrix @ voxels * spacing) == pytest.approx(before, rel=1e-5)


def test_it_says_what_it_is_trained_on(balls: Path):
    task, _ = open_task(balls)
    assert task.title == "FullInvRes" and task.shown == {"dice": "Dice"}
    assert task.summary == "4 training and 2 held-out cases, batch 2"
    assert {name: shape.shape for name, shape in task.batch.items()} == {
        "image": (2, 8, 8, 8, 1),
        "label": (2, 8, 8, 8),
    }
    batch = next(task.batches(Part()))
    assert {name: array.shape for name, array in batch.items()} == {
        name: shape.shape for name, shape in task.batch.items()
    }


def test_its_description_refuses_another_run(balls: Path, tmp_path: Path):
    task, _ = open_task(balls)
    run = SegmentationRun(tmp_path)
    run.describe(task.description)
    (run.checkpoints / "2").mkdir(parents=True)
    run.describe(task.description)
    other = replace(task, experiment=task.experiment.changed({"seed": 1})).description
    assert "another config.seed (0, now 1)" in (other.fault(tmp_path, 2) or "")
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
