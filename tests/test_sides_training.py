"""Classes that differ only in their side: what a training, an evaluation and a prediction do."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.evaluation import prediction, scoring
from invseg_jax.evaluation.prediction import predict
from invseg_jax.evaluation.scoring import evaluate
from invseg_jax.experiment import Experiment, Preprocessing
from invseg_jax.inference.segmentation import TrainedNetwork
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.memory_plan.plan import Images, read_images
from invseg_jax.segmentation.task import SegmentationTask
from invseg_jax.training.program import TrainingProgram
from tests.nifti_bytes import affine, nifti, save
from tests.tiny_run import tiny_config
from tests.trained import train
from tests.twins import twins, write_description, write_twins

SIDES = "the classes left_kidney and right_kidney differ only in their side"


class Stopped(Exception):
    """Instead of compiling, which takes longest."""


@pytest.fixture(scope="module")
def kidneys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_twins(tmp_path_factory.mktemp("twins") / "data")


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Callable[[Experiment, Path, Path], None]:
    """Trains as far as to the first step, all files of the run but a checkpoint are there."""

    build, built = TrainingProgram.build, []

    def remember(objective: SegmentationTask, *rest: Any) -> TrainingProgram:
        built.append(objective.objective.augment.flip)
        return build(objective, *rest)

    def stop(program: TrainingProgram) -> None:
        raise Stopped

    def begin(experiment: Experiment, run: Path, root: Path) -> None:
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(TrainingProgram, "build", remember)
            patch.setattr(TrainingProgram, "compile", stop)
            train(experiment, run, str(root))
        # What is compiled is what is written.
        assert list(built.pop()) == flip_of(run)

    return begin


def experiment_of(flip: tuple | None, mirror: tuple = (False, False, False)) -> Experiment:
    return tiny_config().changed({"augment.flip": flip, "inference.mirror": mirror})


def flip_of(run: Path) -> list[float]:
    return json.loads((run / "config.json").read_text())["augment"]["flip"]


def said(capsys: pytest.CaptureFixture, *words: str) -> list[str]:
    """The lines that hold one of some words."""
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if any(word in line for word in words)]


def test_a_training_is_not_mirrored_from_left_to_right(
    kidneys: Path, tmp_path: Path, begin: Callable, capsys: pytest.CaptureFixture
):
    run, experiment = tmp_path / "run", experiment_of(None)
    begin(experiment, run, kidneys)
    assert flip_of(run) == [0, 0.5, 0.5]
    assert experiment.augment.flip is None  # the caller's is left alone
    assert said(capsys, "mirroring", "mirrors along") == [
        f"mirroring is off along axis 0 (left-right), as {SIDES}; config.augment.flip turns it on"
    ]
    fingerprint = json.loads((run / "fingerprint.json").read_text())
    assert fingerprint["left_right"] == [0] and fingerprint["oriented"] == [True] * 4
    # Neither is an image that is segmented.
    image = kidneys / "imagesTr" / "c0.nii.gz"
    with pytest.raises(UserError, match="with mirror images along axes 1 and 2 alone"):
        predict([run], image, tmp_path / "maps", mirror=(True, False, False))
    with pytest.raises(UserError, match="--mirror 0 asks for axis 0; give --mirror 1,2 or"):
        evaluate(run, tmp_path / "eval", mirror=(True, False, False))
    assert not (tmp_path / "maps").exists() and not (tmp_path / "eval").exists()


def test_without_sides_nothing_is_off(
    balls: Path, tmp_path: Path, begin: Callable, capsys: pytest.CaptureFixture
):
    begin(experiment_of(None), tmp_path / "run", balls)
    assert flip_of(tmp_path / "run") == [0.5, 0.5, 0.5]
    assert said(capsys, "mirroring", "mirrors along") == []


def test_by_hand_it_is_with_a_warning(
    kidneys: Path,
    tmp_path: Path,
    begin: Callable,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    run = tmp_path / "run"
    begin(experiment_of((0.5, 0.5, 0.5), (True, False, False)), run, kidneys)
    assert flip_of(run) == [0.5, 0.5, 0.5]
    (line,) = said(capsys, "mirroring", "mirrors along")
    assert line.startswith("warning: config.augment.flip mirrors along axis 0") and SIDES in line

    class Bright:
        def probabilities(self, image: np.ndarray) -> np.ndarray:
            return np.concatenate([image < 1, image >= 1, image > 99], axis=-1).astype(np.float32)

    def load(workdir: Path, mirror: tuple | None = None) -> tuple:
        run = SegmentationRun(workdir)
        experiment = run.read_config()
        if mirror is not None:
            experiment = experiment.changed({"inference.mirror": mirror})
        return TrainedNetwork(Bright(), Preprocessing()), experiment, run.read_data()

    for module in (prediction, scoring):
        monkeypatch.setattr(module, "load_trained_network", load)
    image = kidneys / "imagesTr" / "c0.nii.gz"
    for mirror, warned in ((None, True), ((True, True, False), True), ((False, True, True), False)):
        predict([run], image, tmp_path / "maps", mirror=mirror)
        lines = said(capsys, "windows are mirrored")
        assert [line.startswith(f"warning: {run}: windows") for line in lines] == [True] * warned
        assert all(SIDES in line for line in lines)
    evaluate(run, tmp_path / "eval")
    assert len(said(capsys, f"warning: {run}: windows are mirrored along axis 0")) == 1


def test_a_mirror_that_training_leaves_out_is_refused_before_it_begins(
    kidneys: Path, tmp_path: Path
):
    for mirror, take in (((True, True, True), "(False, True, True)"), ((True, False, False), "")):
        with pytest.raises(UserError, match="config.inference.mirror asks for axis 0") as caught:
            train(experiment_of(None, mirror), tmp_path / "run", str(kidneys))
        assert str(caught.value).endswith(take)
    assert not (tmp_path / "run").exists()


def test_where_images_do_not_say_which_axis_it_is_all_are_off(
    tmp_path: Path, begin: Callable, capsys: pytest.CaptureFixture
):
    root = write_twins(tmp_path / "data", 3, sform=0, qform=0)
    begin(experiment_of(None), tmp_path / "run", root)
    assert flip_of(tmp_path / "run") == [0, 0, 0]
    (line,) = said(capsys, "mirroring is off")
    assert line.startswith(
        "mirroring is off along all axes (the headers of 2 of 2 training images do not say which "
        f"axis is left-right), as {SIDES}"
    )
    with pytest.raises(UserError, match="config.inference.mirror asks for axis 1"):
        train(experiment_of(None, (False, True, False)), tmp_path / "other", str(root))
    assert not (tmp_path / "other").exists()


def test_the_axis_is_that_of_the_images_where_they_stay_as_they_are(
    tmp_path: Path, begin: Callable, capsys: pytest.CaptureFixture
):
    """Stored with the axes (superior, anterior, right): the last one is left-right."""
    root = tmp_path / "data"
    for number in range(3):
        for folder, array in zip(("imagesTr", "labelsTr"), twins(number), strict=True):
            matrix = affine()[:, [2, 1, 0, 3]]
            save(root / folder / f"c{number}.nii.gz", nifti(array.T, matrix))
    write_description(root, [f"c{number}.nii.gz" for number in range(3)])
    as_stored = {"data.preprocess.canonical": False}
    experiment = experiment_of(None, (True, True, False)).changed(as_stored)
    begin(experiment, tmp_path / "run", root)
    assert flip_of(tmp_path / "run") == [0.5, 0.5, 0]
    assert len(said(capsys, "mirroring is off along axis 2 (left-right)")) == 1
    experiment = experiment_of(None, (False, False, True)).changed(as_stored)
    with pytest.raises(UserError, match="config.inference.mirror asks for axis 2, along which"):
        train(experiment, tmp_path / "other", str(root))


def test_plan_compiles_what_would_be_trained(kidneys: Path):
    assert read_images(experiment_of(None), str(kidneys), None, None) == Images(
        1, 3, (22, 18, 16), (0.0, 0.5, 0.5)
    )
    by_hand = read_images(experiment_of((0.5, 0.5, 0.5)), str(kidneys), None, None)
    assert by_hand.flip == (0.5, 0.5, 0.5)


def test_images_unlike_those_of_the_training_are_told(
    balls: Path, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    """The run is on balls of 10 to 22, voxels of 1.5 x 1 x 2 mm."""
    image, label = twins(0, (11, 13, 9))
    scans = tmp_path / "data" / "imagesTr"
    save(scans / "a.nii", nifti((image / 10).astype("float32"), affine((1.5, 1, 2))))
    save(scans / "b.nii", nifti((image / 10).astype("float32"), affine((1.5, 1, 4))))
    save(scans / "c.nii", nifti((image / 10).astype("float32") - 10, affine((1.5, 1, 2)), sform=0))
    targets = predict([trained_run], scans, tmp_path / "maps")
    assert len(targets) == 3 and all(target.is_file() for target in targets)
    lines = said(capsys, "unlike the")
    assert len(lines) == 2
    assert lines[0].startswith(
        "case b is unlike the training images: spacing 4 mm along axis 2, in training 2 mm (beyond "
    )
    assert lines[1].startswith("case c is unlike the training images: its header does not say")
    assert "; MRI has values below 0, which no training image had" in lines[1]

    # So are those of another data set that are scored, but not those of the training's own.
    for name in ("a", "b", "c"):
        matrix = affine((1.5, 1, 4 if name == "b" else 2))
        content = nifti(label, matrix, sform=0 if name == "c" else 1)
        save(tmp_path / "data" / "labelsTr" / f"{name}.nii", content)
    description = json.loads((balls / "dataset.json").read_text())
    description["training"] = [
        {"image": f"imagesTr/{name}.nii", "label": f"labelsTr/{name}.nii"} for name in "abc"
    ]
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(description))
    evaluate(trained_run, tmp_path / "other", root=str(tmp_path / "data"))
    assert said(capsys, "unlike the") == lines
    evaluate(trained_run, tmp_path / "own", split="all")
    assert said(capsys, "unlike the") == []


def test_without_a_fingerprint_nothing_is_compared(
    balls: Path, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (run / "fingerprint.json").unlink()
    predict([run], balls / "imagesTr", tmp_path / "maps")
    assert said(capsys, "compared") == [
        f"{run}: images cannot be compared with the training images: fingerprint.json is "
        "missing, as in runs of earlier versions"
    ]


def test_every_run_must_have_learned_the_mirror_images(
    balls: Path, trained_run: Path, tmp_path: Path, begin: Callable
):
    run = tmp_path / "along 0"
    begin(experiment_of((0.5, 0.0, 0.0)), run, balls)
    image = balls / "imagesTr" / "ball_000.nii.gz"
    with pytest.raises(UserError, match=f"^{run} was trained with mirror images along axis 0"):
        predict([trained_run, run], image, tmp_path / "maps", mirror=(True, True, True))
    assert not (tmp_path / "maps").exists()


@pytest.mark.slow
def test_both_sides_are_told_apart_by_default(tmp_path: Path):
    root = write_twins(tmp_path / "data", 12)
    experiment = experiment_of(None).changed(
        {
            "model.settings.channels": (8, 16, 32),
            "data.patch": (22, 18, 16),
            "steps": 300,
            "eval_every": 300,
            "save_every": 300,
            "optimiser.learning_rate": 1e-2,
            "optimiser.warmup": 10,
            "optimiser.average": 0.9,
            "augment.affine_probability": 0.0,
        }
    )
    train(experiment, tmp_path / "run", str(root))
    summary = evaluate(tmp_path / "run", tmp_path / "eval")
    assert len(summary["cases"]) == 4
    for case in summary["cases"]:
        assert min(case["dice"]["left_kidney"], case["dice"]["right_kidney"]) > 0.9
