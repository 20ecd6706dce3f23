"""Training end to end on tiny data: what it leaves, resuming, and what it refuses."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from invseg_jax.data.layouts import open_dataset
from invseg_jax.data.prepare.content import case_digest, images_digest
from invseg_jax.data.volumes import nifti
from invseg_jax.errors import UserError, UserNotice
from invseg_jax.evaluation.scoring import evaluate
from invseg_jax.experiment import Augmentation, base_experiment
from invseg_jax.files import file_times
from invseg_jax.models.vae import VAEBranch
from invseg_jax.runs.checkpoints import Checkpoints
from invseg_jax.training.log import TrainingLog
from invseg_jax.training.program import TrainingProgram
from tests.tiny_run import TINY, ball, command, load, parameters, tiny_config
from tests.trained import train

# Where any network would do: one that compiles in a moment.
SMALLEST = {
    "model.settings.channels": (4,),
    "model.settings.auxiliary": 0,
    "augment": Augmentation.off(),
}
# What data.json of an earlier version holds.
DESCRIBED_BEFORE = (
    "layout",
    "root",
    "modalities",
    "classes",
    "values",
    "training",
    "held_out",
    "reference",
    "ignore",
    "regions",
    "images",
)


def test_a_run_leaves_what_it_promises(trained_run: Path):
    assert {"config.json", "data.json", "history.jsonl", "progress.png", "tensorboard"} <= {
        p.name for p in trained_run.iterdir()
    }
    rows = [json.loads(line) for line in (trained_run / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 4]
    validation = [row for row in rows if "val/dice/mean" in row]
    assert [row["step"] for row in validation] == [4]
    assert {"val/dice/ball", "val/dice/shell"} <= validation[0].keys()
    described = json.loads((trained_run / "data.json").read_text())
    assert len(described["training"]) == 4
    fingerprint = json.loads((trained_run / "fingerprint.json").read_text())
    assert fingerprint["cases"] == [id for id, _ in described["training"]]
    assert fingerprint["spacings"] == [[1.5, 1.0, 2.0]] * 4
    assert len(described["held_out"]) == 2


def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(
    balls: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
            train(tiny_config(), tmp_path / "run", str(balls))
    assert not (tmp_path / "run" / "checkpoints" / "4").exists()
    train(tiny_config(), tmp_path / "run", str(balls))
    whole, resumed = parameters(trained_run), parameters(tmp_path / "run")
    assert whole.keys() == resumed.keys()
    assert len(whole) > 30
    for name, value in whole.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)
    rows = [json.loads(r) for r in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == [1, 2, 3, 4]


def test_a_second_start_reads_no_file(
    balls: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What is in the files is known, what is prepared is in the cache."""
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_times, "_SETTLED_NS", 0)
    opened: list[str] = []
    read: list[str] = []
    open_stream, read_voxels = nifti.open_stream, nifti.read_voxels

    def open_and_tell(path: Path):
        opened.append(path.name)
        return open_stream(path)

    def read_and_tell(stream: Any, path: Path, **places: int):
        read.append(path.name)
        return read_voxels(stream, path, **places)

    monkeypatch.setattr(nifti, "open_stream", open_and_tell)
    monkeypatch.setattr(nifti, "read_voxels", read_and_tell)
    run = shutil.copytree(trained_run, tmp_path / "run")
    train(tiny_config(), run, str(balls))
    # Once for all checks and digests, once to prepare the cases.
    assert len(read) == 2 * 12
    read.clear()
    opened.clear()
    train(tiny_config(), run, str(balls))
    assert opened == [] and read == []


def test_a_run_of_an_earlier_version_knows_its_cases_by_files(
    balls: Path, trained_run: Path, tmp_path: Path
):
    new = json.loads((trained_run / "data.json").read_text())
    assert new["known_by"] == "voxels"
    cases = {case.id: case for case in open_dataset("msd", balls).cases}
    assert new["training"] == [[id, case_digest(cases[id])] for id, _ in new["training"]]
    assert new["images"] == [images_digest(cases[id]) for id, _ in new["training"]]
    earlier = {name: new[name] for name in DESCRIBED_BEFORE}
    for name in ("training", "held_out"):
        earlier[name] = [[id, case_digest(cases[id], "files")] for id, _ in new[name]]
    earlier["images"] = [images_digest(cases[id], "files") for id, _ in new["training"]]
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "data.json").write_text(json.dumps(earlier))
    train(tiny_config(), run, str(balls))
    resumed = json.loads((run / "data.json").read_text())
    assert resumed["known_by"] == "files"
    assert {name: resumed[name] for name in DESCRIBED_BEFORE} == earlier
    # On other data it is refused, as before.
    copy = shutil.copytree(balls, tmp_path / "copy")
    path = copy / "imagesTr" / f"{new['training'][0][0]}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(load(path).get_fdata() + 1, load(path).affine), path)
    with pytest.raises(UserError, match="holds a run on other data"):
        train(tiny_config(), run, str(copy))


def test_a_vae_branch_is_trained_resumed_and_left_out_of_evaluation(
    balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    changes = {"vae.latent": 3, "save_every": 1, "augment": Augmentation.off()}
    config = tiny_config().changed(changes)
    train(config, tmp_path / "whole", str(balls))

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
            train(config, tmp_path / "run", str(balls))
    train(config, tmp_path / "run", str(balls))
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
        train(other, tmp_path / "run", str(balls))


def test_a_network_that_gives_the_middle_of_its_patch_is_trained_and_scored(
    balls: Path, tmp_path: Path
):
    tiny = {name: value for name, value in TINY.items() if "couplings" not in name}
    config = base_experiment("CicekUNet3D").changed(tiny)
    with pytest.raises(UserError, match="config.model: 8 voxels do not fit 2 levels .* are 18"):
        train(config, tmp_path / "run", str(balls))
    config = config.changed({"data.patch": (20, 20, 18), "inference.batch": 2})
    with pytest.raises(UserError, match="config.inference.batch is 2: CicekUNet3D normalises by"):
        train(config, tmp_path / "run", str(balls))
    config = config.changed({"inference.batch": 1})
    train(config, tmp_path / "run", str(balls))
    for case in evaluate(tmp_path / "run", tmp_path / "eval")["cases"]:
        label_map = load(tmp_path / "eval" / f"{case['id']}.nii.gz")
        assert label_map.shape == (11, 13, 9)


def test_a_finished_run_is_left_alone(balls: Path, trained_run: Path):
    before = (trained_run / "history.jsonl").read_text()
    train(tiny_config(), trained_run, str(balls))
    assert (trained_run / "history.jsonl").read_text() == before


def test_an_overflow_of_the_fixed_point_stream_stops_the_run(balls: Path, tmp_path: Path):
    fixed = {"model.stream": "fixed", "model.fraction_bits": 29}
    config = tiny_config().changed({**SMALLEST, **fixed})
    with pytest.raises(UserError, match=r"loss is nan at step 1; .* range of \+-4: take fewer"):
        train(config, tmp_path / "run", str(balls))
    assert not any((tmp_path / "run" / "checkpoints").iterdir())


def test_a_loss_that_is_no_number_stops_before_it_is_saved(balls: Path, tmp_path: Path):
    config = tiny_config().changed({**SMALLEST, "optimiser.learning_rate": 1e38, "log_every": 100})
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step 2; .*nothing was saved"):
        train(config, tmp_path / "run", str(balls))
    assert not list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))


def test_a_state_that_is_no_number_is_not_saved_though_the_loss_is_one(balls: Path, tmp_path: Path):
    # The last update makes the parameters infinite: of loss and gradient it has no influence.
    rate = {"optimiser.learning_rate": 3.4e38, "optimiser.warmup": 0}
    config = tiny_config().changed({**SMALLEST, "steps": 1, **rate})
    expected = r"parameters are not finite after step 1; lower .*; nothing was saved$"
    with pytest.raises(UserError, match=expected):
        train(config, tmp_path / "run", str(balls))
    assert not any((tmp_path / "run" / "checkpoints").iterdir())
    (row,) = [json.loads(r) for r in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert np.isfinite([row["train/loss"], row["train/gradient_norm"]]).all()


def test_compiling_does_not_count_in_the_first_line(
    balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spent, compile_step, clock = [0.0], TrainingProgram.compile, time.perf_counter

    def compile_for_hours(self: TrainingProgram) -> Any:
        spent[0] += 1e6
        return compile_step(self)

    monkeypatch.setattr(time, "perf_counter", lambda: clock() + spent[0])
    monkeypatch.setattr(TrainingProgram, "compile", compile_for_hours)
    train(tiny_config(), tmp_path / "run", str(balls))
    assert spent == [1e6]
    first = (tmp_path / "run" / "history.jsonl").read_text().splitlines()[0]
    assert json.loads(first)["train/steps_per_second"] > 1e-5


def test_a_damaged_newest_checkpoint_is_trained_again(
    balls: Path, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    run = shutil.copytree(trained_run, tmp_path / "run")
    for file in (run / "checkpoints" / "4" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:-9])
    with pytest.warns(UserNotice, match=r"checkpoints/4 is damaged .* step 2 is read instead"):
        summary = evaluate(run, tmp_path / "eval")
    assert summary["scored"]["step"] == 2
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["2", "4"]
    train(tiny_config(), run, str(balls))
    said = capsys.readouterr().out
    assert "checkpoints/4 is damaged" in said
    assert "kept as 4.damaged; the checkpoint of step 2 is read instead" in said
    assert "resumed from step 2 of 4" in said
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["2", "4", "4.damaged"]
    whole, resumed = parameters(trained_run), parameters(run)
    for name, value in whole.items():
        np.testing.assert_array_equal(value, resumed[name], err_msg=name)
    assert evaluate(run, tmp_path / "eval")["scored"]["step"] == 4


def test_where_all_checkpoints_are_damaged_no_training_begins(
    balls: Path, trained_run: Path, tmp_path: Path
):
    run = shutil.copytree(trained_run, tmp_path / "run")
    for file in (run / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    before = sorted((run / "checkpoints").rglob("*"))
    for act in (
        lambda: train(tiny_config(), run, str(balls)),
        lambda: evaluate(run, tmp_path / "eval"),
    ):
        with pytest.raises(UserError, match=f"the checkpoints in {run}/checkpoints are all damag"):
            act()
        assert sorted((run / "checkpoints").rglob("*")) == before


def test_a_run_of_another_network_is_not_touched(balls: Path, trained_run: Path):
    before = {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()}
    other = tiny_config().changed({"model.settings.channels": (8, 8)})
    with pytest.raises(UserError, match=r"model\.settings\.channels \(\[4, 8\], now \[8, 8\]\)"):
        train(other, trained_run, str(balls))
    assert {p: p.read_bytes() for p in trained_run.rglob("*") if p.is_file()} == before


def visits(balls: Path, root: Path) -> Path:
    """Six balls as two scans of each of three patients, of which one file is missing."""
    shutil.copytree(balls, root)
    description = (root / "dataset.json").read_text()
    for number in range(6):
        new = f"p{number // 2}_visit{number % 2}"
        for folder in ("imagesTr", "labelsTr"):
            file = root / folder / f"ball_{number:03}.nii.gz"
            file.rename(root / folder / f"{new}.nii.gz")
        description = description.replace(f"ball_{number:03}", new)
    (root / "dataset.json").write_text(description)
    (root / "imagesTr" / "p0_visit0.nii.gz").unlink()
    return root


def test_patients_on_both_sides_are_told(
    balls: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    root, config = visits(balls, tmp_path / "visits"), tiny_config()

    def told() -> list[str]:
        """What is said before the missing file ends the training."""
        with pytest.raises(UserError, match="p0_visit0.nii.gz: no such file"):
            train(config, tmp_path / "run", str(root))
        out = capsys.readouterr().out.splitlines()
        return [line for line in out if "held out" in line or "data.split" in line]

    (line,) = told()
    assert line.startswith("warning: ") and "patients with several scans, by their ids" in line
    assert "config.data.group='(.+?)([_.-](visit)[_-]?[0-9]*)?$' keeps the scans" in line
    config = config.changed({"data.group": r"(p\d)_"})
    assert told() == []
    config = config.changed({"data.group": "(p"})
    with pytest.raises(UserError, match="config.data.group: .* is no regular expression"):
        train(config, tmp_path / "run", str(root))
    # A split file is told too: it may tear patients apart, and leave cases out.
    config = config.changed({"data.group": "", "data.split": str(tmp_path / "splits.json")})
    entry = {"train": ["p0_visit0", "p1_visit0"], "val": ["p0_visit1", "p1_visit1"]}
    (tmp_path / "splits.json").write_text(json.dumps([entry]))
    left_out, line = told()
    assert left_out == "2 of 6 labelled cases are not in config.data.split"
    assert line.startswith("warning: 2 of 2 patients")


def test_unexpected_labels_and_shapes_leave_no_run(balls: Path, tmp_path: Path):
    for fault, expected in (("value", r"ball_000.*7"), ("shape", r"ball_000.*\(11, 13, 9\)")):
        root = tmp_path / fault
        subprocess.run(["cp", "-r", balls, root], check=True)
        image, label = ball(0)
        label = label[:-1] if fault == "shape" else np.where(label == 2, 7, label)
        file = root / "labelsTr" / "ball_000.nii.gz"
        affine = load(root / "imagesTr" / "ball_000.nii.gz").affine
        nibabel.save(nibabel.Nifti1Image(label.astype(np.uint8), affine), file)
        with pytest.raises(UserError, match=expected):
            train(tiny_config(), tmp_path / "run", str(root))
        assert not (tmp_path / "run").exists()


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
