"""An interactive run from end to end, on small cases in the layouts of the configurations."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import nibabel
import numpy as np
import pytest

import invseg_jax as iv
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment, read_experiment
from invseg_jax.interactive.method import SliceVolume
from invseg_jax.interactive.prompts import Box, Click
from invseg_jax.interactive.rounds import CHOICES, KINDS, ROUNDS
from invseg_jax.interactive.tasks import evaluate_run, open_task
from invseg_jax.interactive.trained import expected_errors, load_method
from invseg_jax.training.trainer import Trainer
from tests.interactive.stacks import ellipsoid
from tests.trained import train

SMALL = {
    "devices": 1,
    "steps": 2,
    "log_every": 1,
    "save_every": 2,
    "eval_every": 2,
    "optimiser.warmup": 1,
    "optimiser.average": 0.9,  # one program for all variants
    "interactive.memory": "plain",
    "data.batch": 1,
    "data.folds": 3,
    "interactive.window": 16,
    "interactive.channels": (4, 8),
    "interactive.level": 1,
    "interactive.couplings": 2,
    "interactive.key": 4,
    "interactive.value": 4,
    "interactive.detail": 2,
    "interactive.asked": 2,
    "interactive.known": 2,
    "interactive.slices": 1,
    "interactive.confirmed": 3,
}
AFFINE = np.diag((1.0, 1.0, 3.0, 1.0))


def case(number: int, classes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """An image and its label map, (rows, columns, slices)."""
    rng = np.random.default_rng(number)
    label = ellipsoid((8, 22, 26), (4, 11, 13), (3.2, 7, 8)).astype(np.uint8)
    if classes == 2:
        label[ellipsoid((8, 22, 26), (4, 11, 13), (2, 3, 3))] = 2
    image = 100 * label + rng.normal(0, 10, label.shape)
    return np.moveaxis(image, 0, 2).astype(np.float32), np.moveaxis(label, 0, 2)


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(array, AFFINE).to_filename(path)


def sarcoma(root: Path) -> None:
    for number in (2, 3, 11):
        image, label = case(number)
        save(image, root / f"STS_{number:03}" / "mr_t1.nii.gz")
        save(label, root / f"STS_{number:03}" / "tumour.nii.gz")


def kits(root: Path) -> None:
    for number in range(3):
        image, label = case(number, classes=2)
        save(image, root / f"case_{number:05}" / "imaging.nii.gz")
        save(label, root / f"case_{number:05}" / "segmentation.nii.gz")


def decathlon(root: Path) -> None:
    entries = []
    for number in range(3):
        image, label = case(number)
        name = f"case_{number:03}.nii.gz"
        save(image, root / "imagesTr" / name)
        save(label, root / "labelsTr" / name)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    described = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "cancer"}}
    (root / "dataset.json").write_text(json.dumps(described | {"training": entries}))


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "cpu": sarcoma,
    "gpu": sarcoma,
    "hippocampus": decathlon,
    "msd-lung": decathlon,
    "msd-colon": decathlon,
    "kits19": kits,
}


def small(repository: Path, variant: str) -> Experiment:
    return read_experiment(f"{repository / 'configs' / 'interactive'}.py:{variant}", SMALL)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sarcoma")
    sarcoma(root)
    return root


@pytest.fixture(scope="module")
def run(repository: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(small(repository, "cpu"), folder, str(data))
    return folder


@pytest.mark.parametrize("variant", sorted(LAYOUTS))
def test_every_variant_trains_on_data_in_its_layout(repository, tmp_path, variant):
    LAYOUTS[variant](tmp_path / "data")
    experiment = small(repository, variant)
    assert experiment.task == "interactive"
    train(experiment, tmp_path / "run", str(tmp_path / "data"))
    rows = [json.loads(r) for r in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert any("val/dice/volume" in row for row in rows)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert len(losses) == 2 and np.isfinite(losses).all()


def test_an_unknown_variant_is_refused_with_those_that_there_are():
    with pytest.raises(UserError, match=r"there are cpu, gpu, hippocampus, msd-lung"):
        read_experiment("interactive:msd-liver")


def test_a_stopped_run_goes_on_to_the_same_bits(repository, data, run, tmp_path):
    experiment = small(repository, "cpu")
    task = open_task(experiment, str(data), lambda _: None, known_by="voxels")
    asked = iter([False, True])
    stopped = Trainer(experiment, experiment.optimiser, tmp_path, stopping=lambda: next(asked)).fit(
        task
    )
    assert stopped.stopped and stopped.step == 1
    other = experiment.changed({"interactive.window": 24})
    with pytest.raises(UserError, match="config.interactive.window"):
        train(other, tmp_path, str(data))
    train(experiment, tmp_path, str(data))
    ours, whole = (jax.tree.leaves(load_method(folder).parameters) for folder in (tmp_path, run))
    assert all(np.array_equal(a, b) for a, b in zip(ours, whole, strict=True))


def test_the_scores_of_a_run_are_complete(run, tmp_path):
    summary = evaluate_run(run, tmp_path)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert list(summary["rounds"]) == list(KINDS)
    for choices in summary["rounds"].values():
        assert list(choices) == ["predicted", "interpolated", *CHOICES[1:]]
        assert all(len(row) == ROUNDS for row in choices.values())
        assert len({row[0] for name, row in choices.items() if name != "interpolated"}) == 1
    assert summary["mean"]["dice"].keys() == {"tumour"}
    assert summary["clicks"].keys() >= {"dice_auc", "surface_dice_final"}
    assert 0 <= summary["quality"]["calibration_error"] <= 1
    assert summary["scored"]["split"] == "val"
    with (tmp_path / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    # One held-out case; predicted counts twice, as itself and interpolated; random has 5 seeds.
    assert len(rows) == len(KINDS) * ROUNDS * (2 + 1 + 1 + 5)
    for name in ("rounds.png", "quality.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_mirror_images_are_refused(run, tmp_path):
    with pytest.raises(UserError, match="--mirror"):
        evaluate_run(run, tmp_path, mirror=(True, False, False))


def test_a_session_with_a_run_gives_the_same_bits_each_time(run, data):
    image = data / "STS_003" / "mr_t1.nii.gz"
    maps = []
    for _ in range(2):
        session = iv.Session(image, run)
        session.prompt(Box(((4.0, 5.0), (17.0, 20.0))), 4)
        index = session.suggest()
        assert index is not None and index != 4
        session.prompt(Click(((11.0, 13.0),)), index)
        quality = session.quality()
        assert quality[4] == quality[index] == 1
        others = np.delete(quality, [4, index])
        assert ((others >= 0) & (others <= 1)).all()
        maps.append(session.label_map())
    assert np.array_equal(*maps)


def test_carrying_does_not_depend_on_the_slices_that_are_asked_for(run):
    method = load_method(run)
    image, label = case(3)
    volume = SliceVolume(np.ascontiguousarray(np.moveaxis(image, 2, 0)), (3.0, 1.0, 1.0))
    confirmed = {4: np.moveaxis(label, 2, 0)[4] > 0}
    blank = np.zeros(volume.image.shape, np.float32)

    def carried(slices):
        return {c.index: c.probabilities for c in method.carry(volume, confirmed, slices, blank)}

    everything, some = carried([0, 1, 2, 3, 5, 6, 7]), carried([2, 6])
    assert sorted(everything) == [0, 1, 2, 3, 5, 6, 7] and sorted(some) == [2, 6]
    assert all(np.array_equal(some[z], everything[z]) for z in some)


def test_nothing_is_carried_from_empty_slices(run):
    method = load_method(run)
    volume = SliceVolume(np.zeros((5, 20, 20), np.float32), (1.0, 1.0, 1.0))
    confirmed = {2: np.zeros((20, 20), bool)}
    found = list(method.carry(volume, confirmed, [0, 1, 3, 4], volume.image))
    assert [c.index for c in found] == [0, 1, 3, 4]
    assert not any(c.probabilities.any() for c in found)


def test_a_folder_of_another_task_is_refused(trained_run):
    with pytest.raises(UserError, match="task segmentation"):
        load_method(trained_run)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no trained run"):
        load_method(tmp_path)


def test_segmenting_with_an_interactive_run_is_refused(run):
    with pytest.raises(UserError, match=r"invseg_jax\.annotate"):
        iv.load(run)


def test_the_calls_of_the_package_take_either_task(repository, data, run, tmp_path):
    trained = iv.train(small(repository, "cpu"), tmp_path / "run", data, say=lambda _: None)
    summary = iv.evaluate(trained, output=tmp_path / "eval", say=lambda _: None)
    assert summary["rounds"].keys() == set(KINDS)


def test_a_missing_package_is_named(repository, data, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("invseg_jax.interactive.")]:
        if name != "invseg_jax.interactive.tasks":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)
    for name in [name for name in sys.modules if name.startswith("skimage.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"invseg_jax\[annotate\]"):
        open_task(small(repository, "cpu"), str(data), print, known_by="voxels")


def test_the_slice_with_most_expected_errors_around_it_is_the_middle_of_the_bad_ones():
    probabilities = np.zeros((12, 4, 4), np.float32)
    probabilities[2:10] = 1
    quality = np.full(12, 0.9)
    quality[5:8] = 0.4
    assert np.argmax(expected_errors(probabilities, quality)) == 6
    # A mask that is much too small counts as half of the largest one.
    probabilities[5:8] = 0
    assert np.argmax(expected_errors(probabilities, quality)) == 6
    assert not expected_errors(probabilities, np.full(12, np.nan)).any()
