"""Runs that are profiled, killed and resumed as whole processes."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from invseg_jax.segmentation import task
from invseg_jax.training.log import TrainingLog
from tests.tiny_run import TINY, command, parameters, tiny_config
from tests.trained import train


def traced_steps(run: Path) -> list[list[int]]:
    """The steps in each trace of a run."""
    found = []
    for file in sorted(run.glob("profile/plugins/profile/*/*.trace.json.gz")):
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
        steps = [event["args"]["step_num"] for event in events if event.get("name") == "train"]
        found.append(sorted(map(int, steps)))
    return found


def test_a_profile_is_of_the_steps_asked_for_and_changes_nothing(
    balls: Path, trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    train(tiny_config(), tmp_path / "run", str(balls), profile="1:3")
    assert traced_steps(tmp_path / "run") == [[1, 2]]
    assert (tmp_path / "run" / "profile" / "memory.prof").stat().st_size > 0
    assert f"profile: steps 1 to 2 are in {tmp_path / 'run' / 'profile'}" in capsys.readouterr().out
    whole, profiled = parameters(trained_run), parameters(tmp_path / "run")
    for name, value in whole.items():
        np.testing.assert_array_equal(value, profiled[name], err_msg=name)


def test_a_run_stopped_and_resumed_inside_the_window_is_traced_in_two_parts(
    balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    advance: Callable = TrainingLog.advance

    def stop_after_two(self: TrainingLog, step: int) -> None:
        advance(self, step)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "advance", stop_after_two)
        with pytest.raises(SystemExit) as caught:
            train(tiny_config(), tmp_path / "run", str(balls), profile="1:4")
    assert caught.value.code == 143
    assert "profile: steps 1 to 1 are in" in capsys.readouterr().out
    train(tiny_config(), tmp_path / "run", str(balls), profile="1:4")
    assert "profile: steps 2 to 3 are in" in capsys.readouterr().out
    assert traced_steps(tmp_path / "run") == [[1], [2, 3]]
    train(tiny_config(), tmp_path / "run", str(balls), profile="1:4")
    assert "profile: step 3 is behind already" in capsys.readouterr().out
    assert len(traced_steps(tmp_path / "run")) == 2


def test_a_run_stopped_while_it_validates_is_saved(
    balls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stopped_meanwhile(*_) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {"ball": 0.5, "shell": 0.5, "mean": 0.5}

    monkeypatch.setattr(task, "mean_dice", stopped_meanwhile)
    config = tiny_config().changed({"eval_every": 1, "save_every": 100})
    with pytest.raises(SystemExit) as caught:
        train(config, tmp_path / "run", str(balls))
    assert caught.value.code == 143
    # The step after the validation is taken, and saved.
    assert (tmp_path / "run" / "checkpoints" / "2").is_dir()

    def validated() -> list[int]:
        rows = map(json.loads, (tmp_path / "run" / "history.jsonl").read_text().splitlines())
        return [row["step"] for row in rows if "val/dice/mean" in row]

    assert validated() == [1]
    # Its own is made up for, once.
    monkeypatch.setattr(task, "mean_dice", lambda *_: {"mean": 0.5})
    for _ in range(2):
        train(config, tmp_path / "run", str(balls))
        assert validated() == list(range(1, config.steps + 1))


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_is_resumed_and_a_stopped_one_saves(
    repository: Path, balls: Path, tmp_path: Path, with_signal: signal.Signals
):
    changes = TINY | {"steps": 80, "save_every": 5, "eval_every": 1000}
    arguments = ["--config", "configs/hippocampus.py", "--data", str(balls)]
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
    assert f"resumed from step {saved} of 80" in again.stdout
    assert (checkpoints / "80").is_dir()
