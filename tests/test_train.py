"""The command lines end to end on tiny data: train, stop, resume, evaluate, predict, refuse."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from invseg_jax.configuration import Config, base_config
from invseg_jax.errors import UserError
from invseg_jax.evaluate import evaluate
from invseg_jax.models.vae import VAEBranch
from invseg_jax.predict import predict
from invseg_jax.train import train
from invseg_jax.training import compilation_cache
from invseg_jax.training.checkpoints import Checkpoints
from invseg_jax.training.log import TrainingLog

CLASSES = {"0": "background", "1": "ball", "2": "shell"}


TINY = {
    "model.settings.channels": (4, 8),
    "model.settings.couplings": 1,
    "data.folds": 3,
    "data.patch": (8, 8, 8),
    "data.threads": 0,
    "augment.flip": (0.5, 0.5, 0.5),
    "devices": 1,
    "steps": 4,
    "log_every": 2,
    "save_every": 2,
    "eval_every": 4,
    "inference.batch": 1,
}


def tiny_config() -> Config:
    config = base_config("FullInvRes")
    config.update_from_flattened_dict(TINY)
    return config


def load(path: Path) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image.from_filename(path)


def ball(seed: int, shape=(11, 13, 9)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    radius = np.linalg.norm(grid - (np.array(shape) - 1) / 2, axis=-1)
    label = np.where(radius < 2.5, 1, np.where(radius < 4.0, 2, 0)).astype(np.uint8)
    image = 10.0 + 5.0 * label + rng.normal(0, 0.5, shape)
    return image.astype(np.float32), label


@pytest.fixture(scope="module", autouse=True)
def compiled_once(cache_folder: Path) -> None:
    """The same small programs in every test: what one compiled, the next ones read."""
    compilation_cache.enable()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("balls")
    affine = np.diag((1.5, 1.0, 2.0, 1.0))
    affine[:3, 3] = (-7, 3, 11)
    entries = []
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir()
    for number in range(6):
        image, label = ball(number)
        name = f"ball_{number:03}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(image, affine), root / "imagesTr" / name)
        nibabel.save(nibabel.Nifti1Image(label, affine), root / "labelsTr" / name)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    description = {"name": "balls", "modality": {"0": "MRI"}, "labels": CLASSES}
    (root / "dataset.json").write_text(json.dumps(description | {"training": entries, "test": []}))
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run") / "whole"
    train(tiny_config(), workdir, str(data))
    return workdir


def parameters(workdir: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, read without the package's own code."""
    import orbax.checkpoint as ocp

    steps = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(workdir.absolute() / "checkpoints" / str(steps[-1]) / "state")
    return {name: np.asarray(leaf) for name, leaf in state.items() if "key" not in name}


def test_a_run_leaves_what_it_promises(trained: Path):
    assert {"config.json", "data.json", "history.jsonl", "progress.png", "tensorboard"} <= {
        p.name for p in trained.iterdir()
    }
    rows = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 4]
    validation = [row for row in rows if "val/dice/mean" in row]
    assert [row["step"] for row in validation] == [4]
    assert {"val/dice/ball", "val/dice/shell"} <= validation[0].keys()
    described = json.loads((trained / "data.json").read_text())
    assert len(described["training"]) == 4
    fingerprint = json.loads((trained / "fingerprint.json").read_text())
    assert fingerprint["cases"] == [id for id, _ in described["training"]]
    assert fingerprint["spacings"] == [[1.5, 1.0, 2.0]] * 4
    assert len(described["held_out"]) == 2


def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(
    data: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Stopped(Exception):
        pass

    advance: Callable = TrainingLog.advance

    def stop_at_three(self: TrainingLog, step: int) -> None:
        advance(self, step)
        if step == 3:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "advance", stop_at_three)
        with pytest.raises(Stopped):
            train(tiny_config(), tmp_path / "run", str(data))
    assert not (tmp_path / "run" / "checkpoints" / "4").exists()
    train(tiny_config(), tmp_path / "run", str(data))
    whole, resumed = parameters(trained), parameters(tmp_path / "run")
    assert whole.keys() == resumed.keys()
    assert len(whole) > 30
    for name, value in whole.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)
    rows = [json.loads(r) for r in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4]


def test_a_vae_branch_is_trained_resumed_and_left_out_of_evaluation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tiny_config()
    config.vae.latent, config.save_every = 3, 1
    train(config, tmp_path / "whole", str(data))

    class Stopped(Exception):
        pass

    save: Callable = Checkpoints.save

    def stop_at_two(self: Checkpoints, step: int, *state: Any) -> None:
        save(self, step, *state)
        if step == 2:
            raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stop_at_two)
        with pytest.raises(Stopped):
            train(config, tmp_path / "run", str(data))
    train(config, tmp_path / "run", str(data))
    whole, resumed = parameters(tmp_path / "whole"), parameters(tmp_path / "run")
    assert whole.keys() == resumed.keys() and any(".vae." in name for name in whole)
    for name, value in whole.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)

    rows = [json.loads(r) for r in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    terms = [row["train/reconstruction"] for row in rows if "train/loss" in row]
    assert len(terms) == 4 and min(terms) > 0
    (held_out,) = [row for row in rows if "val/dice/mean" in row]
    assert held_out["val/reconstruction"] > 0 and held_out["val/kl"] >= 0
    with monkeypatch.context() as patch:
        patch.setattr(VAEBranch, "__init__", lambda self, *a, **k: pytest.fail("it was built"))
        assert len(evaluate(tmp_path / "run", tmp_path / "eval")["cases"]) == 2
    other = tiny_config()
    with pytest.raises(UserError, match=r"vae\.latent \(3, now 0\); use the same config"):
        train(other, tmp_path / "run", str(data))


def test_a_network_that_gives_the_middle_of_its_patch_is_trained_and_scored(
    data: Path, tmp_path: Path
):
    config = base_config("CicekUNet3D")
    tiny = {name: value for name, value in TINY.items() if "couplings" not in name}
    config.update_from_flattened_dict(tiny)
    with pytest.raises(UserError, match="config.model: 8 voxels do not fit 2 levels .* are 18"):
        train(config, tmp_path / "run", str(data))
    config.data.patch = (20, 20, 18)
    train(config, tmp_path / "run", str(data))
    for case in evaluate(tmp_path / "run", tmp_path / "eval")["cases"]:
        label_map = load(tmp_path / "eval" / f"{case['id']}.nii.gz")
        assert label_map.shape == (11, 13, 9)


def test_a_finished_run_is_left_alone(data: Path, trained: Path):
    before = (trained / "history.jsonl").read_text()
    train(tiny_config(), trained, str(data))
    assert (trained / "history.jsonl").read_text() == before


def test_evaluation_scores_the_held_out_cases(data: Path, trained: Path, tmp_path: Path):
    summary = evaluate(trained, tmp_path / "eval")
    held_out = {id for id, _ in json.loads((trained / "data.json").read_text())["held_out"]}
    assert {case["id"] for case in summary["cases"]} == held_out
    assert json.loads((tmp_path / "eval" / "summary.json").read_text()) == summary
    for case in summary["cases"]:
        map_file = load(tmp_path / "eval" / f"{case['id']}.nii.gz")
        truth = np.asarray(load(data / "labelsTr" / f"{case['id']}.nii.gz").dataobj)
        prediction = np.asarray(map_file.dataobj)
        for value, name in ((1, "ball"), (2, "shell")):
            a, b = prediction == value, truth == value
            expected = 2 * (a & b).sum() / (a.sum() + b.sum())
            assert case["dice"][name] == pytest.approx(expected, abs=1e-9)
        assert (tmp_path / "eval" / f"{case['id']}.png").stat().st_size > 5000
    assert len(evaluate(trained, tmp_path / "train", split="train")["cases"]) == 4


def test_prediction_keeps_grid_and_affine(data: Path, trained: Path, tmp_path: Path):
    image = data / "imagesTr" / "ball_003.nii.gz"
    (target,) = predict([trained, trained], image, tmp_path)
    source, result = load(image), load(target)
    assert result.shape == source.shape
    np.testing.assert_array_equal(result.affine, source.affine)
    assert set(np.unique(np.asarray(result.dataobj))) <= {0, 1, 2}
    assert len(predict([trained], data / "imagesTr", tmp_path / "folder")) == 6
    assert len(predict([trained], data, tmp_path / "data set")) == 6


def test_cases_of_one_id_are_not_scored(data: Path, trained: Path, tmp_path: Path):
    shutil.copytree(data, tmp_path / "twice")
    description = json.loads((data / "dataset.json").read_text())
    description["training"].append(description["training"][0])
    (tmp_path / "twice" / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="ids that occur more than once: ball_000"):
        evaluate(trained, tmp_path / "eval", root=str(tmp_path / "twice"), split="all")
    assert not (tmp_path / "eval").exists()


def test_plain_folders_are_trained_on_scored_and_segmented(data: Path, tmp_path: Path):
    root = tmp_path / "plain"
    for image in sorted((data / "imagesTr").iterdir()):
        folder = root / image.name.removesuffix(".nii.gz")
        folder.mkdir(parents=True)
        shutil.copy(image, folder / "mr.nii.gz")
        shutil.copy(data / "labelsTr" / image.name, folder / "seg.nii.gz")
    config = tiny_config()
    config.data.layout = "plain"
    config.data.plain.images = (("mr", "*/mr.nii.gz"),)
    config.data.plain.label = "*/seg.nii.gz"
    config.data.plain.classes = (("ball", 1), ("shell", 2))
    train(config, tmp_path / "run", str(root))
    assert len(evaluate(tmp_path / "run", tmp_path / "eval")["cases"]) == 2

    # What is which stands in the run; label maps are not needed, and never overwritten.
    for label in list(root.glob("*/seg.nii.gz"))[1:]:
        label.unlink()
    targets = predict([tmp_path / "run"], root, tmp_path / "maps")
    assert [target.name for target in targets] == [f"ball_{i:03}.nii.gz" for i in range(6)]
    (root / "ball_003" / "mr.nii.gz").unlink()
    (root / "ball_003" / "seg.nii.gz").touch()
    with pytest.raises(UserError, match=r"no such file: .*ball_003/mr.nii.gz; every case needs"):
        predict([tmp_path / "run"], root, tmp_path / "maps")
    with pytest.raises(UserError, match="a fault in the data, the first: case ball_003: ball_003/"):
        train(config, tmp_path / "run", str(root))


def test_prediction_leaves_out_what_cannot_be_read(data: Path, trained: Path, tmp_path: Path):
    images = tmp_path / "images"
    shutil.copytree(data / "imagesTr", images)
    (images / "ball_001.nii.gz").write_bytes(b"\x1f\x8bno")
    with pytest.raises(UserError, match="1 of 6 cases could not be read, the first: case ball_001"):
        predict([trained], images, tmp_path / "maps")
    written = sorted(path.name for path in (tmp_path / "maps").glob("*.nii.gz"))
    assert written == [f"ball_{i:03}.nii.gz" for i in (0, 2, 3, 4, 5)]


def test_prediction_refuses_to_overwrite_its_input(data: Path, trained: Path):
    image = data / "imagesTr" / "ball_003.nii.gz"
    before = image.read_bytes()
    with pytest.raises(UserError, match="is an input"):
        predict([trained], image, data / "imagesTr")
    assert image.read_bytes() == before


def test_an_overflow_of_the_fixed_point_stream_stops_the_run(data: Path, tmp_path: Path):
    config = tiny_config()
    config.model.stream, config.model.fraction_bits = "fixed", 29
    with pytest.raises(UserError, match=r"loss is nan at step 1; .* range of \+-4: take fewer"):
        train(config, tmp_path / "run", str(data))
    assert not any((tmp_path / "run" / "checkpoints").iterdir())


def test_a_loss_that_is_no_number_stops_before_it_is_saved(data: Path, tmp_path: Path):
    config = tiny_config()
    config.optimiser.learning_rate = 1e38
    config.log_every = 100
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step 2; .*learning_rate"):
        train(config, tmp_path / "run", str(data))
    assert not list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))


def test_a_run_of_another_network_is_not_touched(data: Path, trained: Path):
    before = {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()}
    other = tiny_config()
    other.model.settings.channels = (8, 8)
    with pytest.raises(UserError, match=r"model\.settings\.channels \(\[4, 8\], now \[8, 8\]\)"):
        train(other, trained, str(data))
    assert {p: p.read_bytes() for p in trained.rglob("*") if p.is_file()} == before


def test_unexpected_labels_and_shapes_leave_no_run(data: Path, tmp_path: Path):
    for fault, expected in (("value", r"ball_000.*7"), ("shape", r"ball_000.*\(11, 13, 9\)")):
        root = tmp_path / fault
        subprocess.run(["cp", "-r", data, root], check=True)
        image, label = ball(0)
        label = label[:-1] if fault == "shape" else np.where(label == 2, 7, label)
        file = root / "labelsTr" / "ball_000.nii.gz"
        affine = load(root / "imagesTr" / "ball_000.nii.gz").affine
        nibabel.save(nibabel.Nifti1Image(label.astype(np.uint8), affine), file)
        with pytest.raises(UserError, match=expected):
            train(tiny_config(), tmp_path / "run", str(root))
        assert not (tmp_path / "run").exists()


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "invseg_jax.train", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--config", "configs/iseg.py:quick", "--config.stepz=3"), "steps"),
        (("--config", "configs/iseg.py:quick", "--data", "/not/there"), "/not/there"),
        (("--config", "configs/nothing.py"), "nothing.py"),
        (("--config", "configs/iseg.py:slow"), "quick"),
        (("--config", "configs/hippocampus.py"), "--data"),
        (("--config", "configs/iseg.py:quick", "--profile", "5:2"), "--profile 5:2 is empty"),
        (("--config", "configs/iseg.py:quick", "--profile", "a:b"), "START:STOP"),
        (("--config", "configs/iseg.py:quick", "--profile", "399:401"), "the run's 400 steps"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    repository: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
):
    done = command(*arguments, "--workdir", str(tmp_path / "run"), folder=repository)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def traced_steps(run: Path) -> list[list[int]]:
    """The steps in each trace of a run."""
    found = []
    for file in sorted(run.glob("profile/plugins/profile/*/*.trace.json.gz")):
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
        steps = [event["args"]["step_num"] for event in events if event.get("name") == "train"]
        found.append(sorted(map(int, steps)))
    return found


def test_a_profile_is_of_the_steps_asked_for_and_changes_nothing(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    train(tiny_config(), tmp_path / "run", str(data), profile="1:3")
    assert traced_steps(tmp_path / "run") == [[1, 2]]
    assert (tmp_path / "run" / "profile" / "memory.prof").stat().st_size > 0
    assert f"profile: steps 1 to 2 are in {tmp_path / 'run' / 'profile'}" in capsys.readouterr().out
    whole, profiled = parameters(trained), parameters(tmp_path / "run")
    for name, value in whole.items():
        np.testing.assert_array_equal(value, profiled[name], err_msg=name)


def test_a_run_stopped_and_resumed_inside_the_window_is_traced_in_two_parts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    advance: Callable = TrainingLog.advance

    def stop_after_two(self: TrainingLog, step: int) -> None:
        advance(self, step)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "advance", stop_after_two)
        with pytest.raises(SystemExit) as caught:
            train(tiny_config(), tmp_path / "run", str(data), profile="1:4")
    assert caught.value.code == 143
    assert "profile: steps 1 to 1 are in" in capsys.readouterr().out
    train(tiny_config(), tmp_path / "run", str(data), profile="1:4")
    assert "profile: steps 2 to 3 are in" in capsys.readouterr().out
    assert traced_steps(tmp_path / "run") == [[1], [2, 3]]
    train(tiny_config(), tmp_path / "run", str(data), profile="1:4")
    assert "profile: step 3 is behind already" in capsys.readouterr().out
    assert len(traced_steps(tmp_path / "run")) == 2


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_is_resumed_and_a_stopped_one_saves(
    repository: Path, data: Path, tmp_path: Path, with_signal: signal.Signals
):
    changes = TINY | {"steps": 300, "save_every": 5, "eval_every": 1000}
    arguments = ["--config", "configs/hippocampus.py", "--data", str(data)]
    arguments += ["--workdir", str(tmp_path / "run")]
    arguments += [f"--config.{key}={value}" for key, value in changes.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "invseg_jax.train", *arguments],
        cwd=repository,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 240
    while not (checkpoints / "5" / "commit_success.txt").exists():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(with_signal)
    output, _ = process.communicate(timeout=120)
    saved = max(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit())
    if with_signal == signal.SIGTERM:
        assert process.returncode == 143
        assert f"stopped by SIGTERM after step {saved};" in output
        return
    assert process.returncode == -signal.SIGKILL
    again = command(*arguments, folder=repository)
    assert again.returncode == 0, again.stderr
    assert f"resumed from step {saved} of 300" in again.stdout
    assert (checkpoints / "300").is_dir()
