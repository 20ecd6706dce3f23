"""The plan of a training step against the step that `train` runs, and the command line."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from invseg_jax.devices import compiled_memory as memory
from invseg_jax.errors import UserError
from invseg_jax.experiment import Augmentation, Experiment, base_experiment
from invseg_jax.experiment.changes import changed_by_text
from invseg_jax.memory_plan import measure as measuring
from invseg_jax.memory_plan.measure import Measured, Rows
from invseg_jax.memory_plan.plan import Images, plan, read_images
from invseg_jax.training.program import TrainingProgram
from tests.trained import train

IMAGES = Images(modalities=1, classes=3)


def tiny_experiment() -> Experiment:
    return base_experiment("FullInvRes").changed(
        {
            "model.settings.channels": (8,),
            "model.settings.auxiliary": 0,
            "model.settings.couplings": 1,
            "data.folds": 3,
            "data.patch": (8, 8, 8),
            "data.threads": 0,
            "steps": 1,
            "optimiser.warmup": 0,
            "inference.batch": 1,
        }
    )


def quick_experiment() -> Experiment:
    """Nothing is drawn at random: compiled sooner."""
    return tiny_experiment().changed({"augment": Augmentation.off()})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases of noise in the MSD layout."""
    root = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    entries = []
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir()
    for number, depth in enumerate((9, 12, 11)):
        name, shape = f"noise_{number}.nii.gz", (depth, 20, 10)
        image = rng.normal(10, 1, shape).astype(np.float32)  # nothing below 0: no CT
        label = rng.integers(0, 3, shape).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), root / "imagesTr" / name)
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), root / "labelsTr" / name)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    described = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "a", "2": "b"}}
    (root / "dataset.json").write_text(
        json.dumps({"name": "noise", **described, "training": entries, "test": []})
    )
    return root


def test_the_plan_is_the_memory_of_the_step_that_train_runs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    run: list[tuple[TrainingProgram, int]] = []
    compile_ = TrainingProgram.compile

    def compile_and_tell(self: TrainingProgram, options=None):
        assert options is None
        compiled = compile_(self)
        run.append((self, memory.compiled_bytes(compiled, self.devices)))
        return compiled

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgram, "compile", compile_and_tell)
        train(tiny_experiment(), tmp_path / "run", str(data))
    ((program, taken),) = run
    # What was compiled ahead is what ran.
    step: Any = program.step
    assert step._cache_size() == 0
    assert (tmp_path / "run" / "checkpoints" / "1").is_dir()
    assert "warning" not in capsys.readouterr().out

    images = read_images(tiny_experiment(), str(data), None, None)
    assert images == Images(1, 3, (12, 20, 10))  # of the two cases to train on
    (step,) = plan(tiny_experiment(), images, budget=1 << 40, platform="cpu", vary=[])["steps"]
    assert step["bytes"]["total"] == pytest.approx(taken, rel=0.01)
    assert step["devices"] == program.devices.size


def test_the_three_ways_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture):
    experiment = quick_experiment().changed({"model.settings.couplings": 3})
    planned = plan(experiment, IMAGES, platform="cpu", output=tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text()) == planned
    steps = {step["model.memory"]: step for step in planned["steps"]}
    assert list(steps) == ["plain", "remat", "reversible"]
    for step in planned["steps"]:
        rows = dict(step["bytes"])
        assert rows.pop("total") == sum(rows.values())
        assert min(rows.values()) > 0
    assert steps["reversible"]["bytes"]["activations"] < steps["plain"]["bytes"]["activations"]
    shown = capsys.readouterr().out
    for row in (
        "parameters",
        "averaged parameters",
        "optimiser",
        "gradients",
        "workspace",
        "total",
    ):
        assert f" {row} " in shown
    assert "trunk activations" in shown


def test_train_warns_where_the_step_is_larger_than_the_device(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(memory, "device_bytes", lambda device: 100 << 10)
    monkeypatch.setattr(memory, "argument_bytes", lambda *_: 0)
    train(quick_experiment(), tmp_path / "run", str(data))
    warnings = [r for r in capsys.readouterr().out.splitlines() if r.startswith("warning")]
    assert len(warnings) == 1
    assert "has 100 KiB; python -m invseg_jax.plan --config CONFIG --memory 1MiB" in warnings[0]


def test_what_is_found_fits_and_is_what_the_lines_give(capsys: pytest.CaptureFixture):
    experiment = quick_experiment()
    budget = 3 << 20
    planned = plan(experiment, IMAGES, budget=budget, platform="cpu", vary=["patch", "depth"])
    (step,) = planned["steps"]
    assert step["bytes"]["total"] <= budget
    assert step in planned["tried"]
    assert planned["memory"] == budget
    assert capsys.readouterr().out.rstrip().endswith(" ".join(planned["config"]))

    given = [part for line in planned["config"] for part in shlex.split(line)]
    pairs = [part.partition("=") for part in given]
    assert [key for key, _, _ in pairs] == [
        "--config.data.patch",
        "--config.data.batch",
        "--config.model.settings.channels",
        "--config.model.settings.couplings",
    ]
    texts = {key.removeprefix("--config."): text for key, _, text in pairs}
    found = changed_by_text(experiment, texts)
    (again,) = plan(found, IMAGES, budget=budget, platform="cpu", vary=[])["steps"]
    assert {**again, "seconds": 0} == {**step, "seconds": 0}


def test_modalities_and_classes(data: Path, capsys: pytest.CaptureFixture):
    experiment = tiny_experiment()
    assert read_images(experiment, None, 2, 5) == Images(2, 5)
    assert capsys.readouterr().out == ""
    assert read_images(experiment, None, None, 5) == Images(4, 5)
    assert "taking 4 modalities and 5 classes" in capsys.readouterr().out
    assert read_images(experiment, str(data), 2, None) == Images(2, 3, (12, 20, 10))
    with pytest.raises(UserError, match="1 modalities and 1 classes"):
        read_images(experiment, None, 1, 1)
    with pytest.raises(UserError, match="no such folder"):
        read_images(experiment, "/not/there", None, None)


def test_a_damaged_header_is_named(data: Path, tmp_path: Path):
    subprocess.run(["cp", "-r", data, tmp_path / "copy"], check=True)
    (tmp_path / "copy" / "imagesTr" / "noise_1.nii.gz").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"case noise_1: .*: not a NIfTI") as caught:
        read_images(tiny_experiment(), str(tmp_path / "copy"), None, None)
    assert "\n" not in str(caught.value)


def test_a_plan_that_cannot_be_written_is_an_error_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").write_text("")
    small = Measured(Rows(1, 1, 1, 1, 1, 1, 1), devices=1, count=1, seconds=0.0)
    monkeypatch.setattr(measuring, "measure", lambda *_: small)
    with pytest.raises(UserError, match="cannot write"):
        plan(
            quick_experiment(),
            IMAGES,
            budget=1 << 30,
            platform="cpu",
            vary=[],
            output=tmp_path / "file" / "plan.json",
        )


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "--config"),
        (("--config", "configs/nothing.py"), "nothing.py"),
        (("--config", "configs/brats.py", "--memory", "16 gigs"), "'16 gigs' is no size"),
        (("--config", "configs/brats.py", "--platform", "tpu-v7"), "'tpu-v7': there are cpu, gpu"),
        (("--config", "configs/brats.py", "--topology", "2x2"), "--topology is for a TPU"),
        (("--config", "configs/brats.py", "--vary", "patch,height"), "--vary height"),
        (("--config", "configs/brats.py", "--config.data.pach=3"), "pach"),
        (("--config", "configs/interactive.py"), "not interactive"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(repository: Path, arguments, said: str):
    done = subprocess.run(
        [sys.executable, "-m", "invseg_jax.plan", *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr


@pytest.mark.slow
def test_brats_in_4_gib(repository: Path, tmp_path: Path):
    arguments = ["--config", "configs/brats.py", "--platform", "cpu", "--memory", "4GiB"]
    done = subprocess.run(
        [sys.executable, "-m", "invseg_jax.plan", *arguments, "--json", tmp_path / "plan.json"],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    planned = json.loads((tmp_path / "plan.json").read_text())
    (step,) = planned["steps"]
    # Not far below either: one more step of the patch would be too large.
    assert 3 << 30 < step["bytes"]["total"] <= 4 << 30
    assert min(step["data.patch"]) > 96
    assert all(line in done.stdout for line in planned["config"])


@pytest.mark.tpu_backend
@pytest.mark.slow
@pytest.mark.parametrize("topology, devices", [(None, 1), ("2x2", 4)])
def test_a_tpu_that_is_not_there(topology: str | None, devices: int):
    pytest.importorskip("libtpu")
    experiment = quick_experiment().changed({"data.batch": devices})
    # One step is compiled: of the experiment itself.
    planned = plan(
        experiment, IMAGES, budget=1 << 34, platform="tpu-v5e", topology=topology, vary=[]
    )
    (step,) = planned["steps"]
    assert step["devices"] == devices
    # Sizes on a TPU are padded: 1 modality and 8 channels take more than their own bytes.
    assert step["bytes"]["total"] > sum(
        size for name, size in step["bytes"].items() if name not in ("total", "workspace")
    )
