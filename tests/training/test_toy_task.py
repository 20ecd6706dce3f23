"""The trainer knows nothing of segmentation: another task goes the same way."""

import gzip
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest
from matplotlib.image import imread

from invseg_jax.errors import UserError
from invseg_jax.training.trainer import Fitted
from tests.runs.small_checkpoints import assert_same_bits
from tests.training.toy_task import ToyTask, trainer


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: its folder, what came of it, and the lines that were printed."""

    folder: Path
    fitted: Fitted
    lines: list[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder, lines = tmp_path_factory.mktemp("toy") / "whole", []
    fitted = trainer(folder, say=lines.append, profile=range(2, 4)).fit(ToyTask())
    return Whole(folder, fitted, lines)


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def test_the_log_has_the_task_s_own_metrics(whole: Whole):
    assert (whole.fitted.step, whole.fitted.stopped) == (8, False)
    first, second, *_ = whole.lines
    assert first == "Two layers: 16 parameters, endless images, batch 4 on 1 cpu device(s)"
    assert second == "compiling the training step"
    assert any(line.startswith("step 8/8  loss ") and "  error " in line for line in whole.lines)
    logged = [row for row in rows(whole.folder) if "train/loss" in row]
    assert [row["step"] for row in logged] == [1, 2, 4, 6, 8]
    assert all(row["train/error"] > 0 and "train/learning_rate" in row for row in logged)
    scored = [row for row in rows(whole.folder) if "val/error" in row]
    assert [row["step"] for row in scored] == [4, 8]
    assert not any("dice" in name for row in rows(whole.folder) for name in row)


def test_the_lines_name_them(tmp_path: Path, capsys: pytest.CaptureFixture):
    """And the stop: what was asked for is saved."""
    asked = iter([False] * 4 + [True])
    fitted = trainer(tmp_path / "run", lambda: next(asked)).fit(ToyTask())
    assert (fitted.step, fitted.stopped) == (4, True)
    assert (tmp_path / "run" / "checkpoints" / "4").is_dir()
    lines = capsys.readouterr().out.splitlines()
    first = next(line for line in lines if line.startswith("step 1/8"))
    assert "  loss " in first and "  error " in first and "Dice" not in first
    # The validation that was due with the stop is made up for.
    trainer(tmp_path / "run", lambda: False).fit(ToyTask())
    lines = capsys.readouterr().out.splitlines()
    assert "resumed from step 4 of 8" in lines
    told = [line.split("  ")[0] for line in lines if "held-out error: 0." in line]
    assert told == ["step 4/8", "step 8/8"]


def test_the_error_has_a_panel(whole: Whole):
    height = imread(whole.folder / "progress.png").shape[0]
    # Loss, error and learning rate: 1 + 3 x 2.7 inches; without the error 2.7 less.
    assert height == pytest.approx(imread_height(3), abs=2)


def imread_height(panels: int) -> float:
    from invseg_jax.runs.figure import DPI

    return (1 + 2.7 * panels) * DPI


def test_the_window_is_traced(whole: Whole):
    (file,) = whole.folder.glob("profile/plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    steps = [int(event["args"]["step_num"]) for event in events if event.get("name") == "train"]
    assert sorted(steps) == [2, 3]


def test_killed_and_resumed_equals_undisturbed_bit_for_bit(
    whole: Whole, repository: Path, tmp_path: Path
):
    run = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, "-m", "tests.training.toy_task", str(run)],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    said: list[str] = []
    fitted = trainer(run, say=said.append).fit(ToyTask())
    assert "resumed from step 4 of 8" in said
    assert_same_bits(fitted.state, whole.fitted.state)
    first = ToyTask().parameters(jax.random.key(3))
    assert not np.array_equal(first["second"], fitted.state.params["second"])
    of_both = [[row for row in rows(at) if "val/error" in row] for at in (run, whole.folder)]
    assert of_both[0] == of_both[1]


def test_another_toy_is_refused_by_its_description(whole: Whole):
    before = {p: p.read_bytes() for p in whole.folder.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match=r"whole holds another toy \(2.0, now 3.0\)$"):
        trainer(whole.folder).fit(ToyTask(frequency=3.0))
    (whole.folder / "toy.json").rename(whole.folder / "gone")
    with pytest.raises(UserError, match="holds the checkpoint of step 8 and no toy.json; put it"):
        trainer(whole.folder).fit(ToyTask())
    (whole.folder / "gone").rename(whole.folder / "toy.json")
    assert {p: p.read_bytes() for p in whole.folder.rglob("*") if p.is_file()} == before


def test_where_nothing_is_held_out_nothing_is_scored(tmp_path: Path):
    trainer(tmp_path / "run").fit(ToyTask(held_out=0))
    assert not any("val/error" in row for row in rows(tmp_path / "run"))
    assert (tmp_path / "run" / "progress.png").stat().st_size > 5000
