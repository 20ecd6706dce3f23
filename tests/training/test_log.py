import json
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from tensorboardX import record_writer
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore  (made at import)

from invseg_jax.errors import UserError
from invseg_jax.runs.run_folder import RunFolder
from invseg_jax.training.log import TrainingLog
from invseg_jax.training.task import Validation

# Whatever is written there does not fit, as on a full disk, once it leaves the process's memory.
FULL = Path("/dev/full")
SHOWN = {"dice": "Dice"}
on_a_full_disk = pytest.mark.skipif(not FULL.exists(), reason="Linux has /dev/full")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_writer, "open_file", lambda path: FULL.open("wb"))


def train(run: RunFolder, first: int, last: int, steps: int = 40) -> None:
    with TrainingLog(run, first=first, steps=steps, shown=SHOWN) as log:
        for step in range(first + 1, last + 1):
            log.training(step, {"loss": 1 / step, "dice": 0.5})
        scores = {"dice/CSF": 0.75, "dice/white matter": 0.5}
        log.validation(last, Validation("held-out Dice: fine", scores))


def events(run: RunFolder) -> list[Event]:
    """Of the newest file, each record's checksums checked."""
    content = sorted((run.path / "tensorboard").glob("*tfevents*"))[-1].read_bytes()
    found, at = [], 0
    while at < len(content):
        header = content[at : at + 8]
        (size,) = struct.unpack("<Q", header)
        body = content[at + 12 : at + 12 + size]
        sums = content[at + 8 : at + 12] + content[at + 12 + size : at + 16 + size]
        checked = [record_writer.masked_crc32c(part) for part in (header, body)]
        assert sums == struct.pack("<II", *checked)
        found.append(Event.FromString(body))
        at += 16 + size
    return found


def rows(run: RunFolder) -> list[int]:
    lines = (run.path / "history.jsonl").read_text().splitlines()
    return [row["step"] for row in map(json.loads, lines)]


def complaints(text: str) -> list[str]:
    return [line for line in text.splitlines() if "TensorBoard" in line]


def test_tensorboard_finds_each_value_at_its_step(run: RunFolder):
    train(run, 0, 3)
    version, start, *scalars = events(run)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (1, SessionLog.START)
    values = {(e.step, v.tag): v.simple_value for e in scalars for v in e.summary.value}
    assert len(values) == len(scalars) == 3 * 4 + 2
    for step in (1, 2, 3):
        assert values[step, "train/loss"] == np.float32(1 / step)
        assert values[step, "train/steps_per_second"] > 0
    assert values[3, "val/dice/CSF"] == 0.75
    assert values[3, "val/dice/white_matter"] == 0.5  # TensorBoard knows no blanks
    assert all(a.wall_time <= b.wall_time for a, b in zip(scalars, scalars[1:], strict=False))


def test_what_follows_the_step_that_is_resumed_from_is_replaced(run: RunFolder):
    train(run, 0, 5)
    train(run, 3, 4)
    _, start, *scalars = events(run)
    # At this TensorBoard drops what earlier files say of step 4 and later ones.
    assert (start.step, start.session_log.status) == (4, SessionLog.START)
    assert {event.step for event in scalars} == {4}
    assert rows(run) == [1, 2, 3, 4, 4]


def test_a_running_training_can_be_looked_at(run: RunFolder):
    before = threading.active_count()
    with TrainingLog(run, first=0, steps=9) as log:
        log.training(1, {"loss": 1.0, "dice": 0.5})
        assert {event.step for event in events(run)} == {0, 1}
        assert threading.active_count() == before


def test_a_step_without_a_dice(run: RunFolder, capsys: pytest.CaptureFixture):
    with TrainingLog(run, first=0, steps=9, shown=SHOWN) as log:
        log.training(1, {"loss": 1.0, "dice": float("nan")})
        log.training(2, {"loss": 1.0, "dice": 0.5})
        log.draw(run.path / "progress.png")
    first, second = capsys.readouterr().out.splitlines()
    assert "loss 1.000  Dice n/a  " in first
    assert "loss 1.000  Dice 0.500  " in second
    one, two = (run.path / "history.jsonl").read_text().splitlines()
    assert "train/loss" in one and "dice" not in one and "NaN" not in one
    assert json.loads(two)["train/dice"] == 0.5
    tags = {(e.step, v.tag) for e in events(run) for v in e.summary.value}
    assert (1, "train/loss") in tags and (1, "train/dice") not in tags
    assert (2, "train/dice") in tags


@on_a_full_disk
def test_a_full_disk_does_not_stop_training(tmp_path: Path):
    # A process of its own: training used to stand still for good.
    program = (
        "import pathlib, sys; from tensorboardX import record_writer;"
        "from invseg_jax.training.log import TrainingLog;"
        "from invseg_jax.runs.run_folder import RunFolder;"
        "record_writer.open_file = lambda path: open('/dev/full', 'wb');"
        "log = TrainingLog(RunFolder(pathlib.Path(sys.argv[1])), first=0, steps=40).__enter__();"
        "[log.training(step, {'loss': 1.0, 'dice': 0.5}) for step in range(1, 41)];"
        "log.__exit__(None, None, None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(complaints(done.stdout)) == 1
    assert rows(RunFolder(tmp_path)) == list(range(1, 41))


@on_a_full_disk
@pytest.mark.usefixtures("full")
def test_a_write_that_fails_costs_one_line(run: RunFolder, capsys: pytest.CaptureFixture):
    train(run, 0, 2)
    (said,) = complaints(capsys.readouterr().out)
    assert said.startswith(f"TensorBoard: cannot write {run.path / 'tensorboard'}/events.")
    assert said.endswith("(No space left on device); the rest of this run is not written there")
    assert rows(run) == [1, 2, 2]


@on_a_full_disk
@pytest.mark.usefixtures("full")
def test_an_error_on_its_way_out_is_not_replaced(run: RunFolder, capsys: pytest.CaptureFixture):
    with pytest.raises(UserError, match="diverged"):
        with TrainingLog(run, first=0, steps=40):
            raise UserError("diverged")
    assert len(complaints(capsys.readouterr().out)) == 1


def test_a_terminal_that_is_gone_does_not_replace_it_either(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_, **__) -> None:
        raise OSError("no terminal")

    log = TrainingLog(run, first=0, steps=40)
    with pytest.raises(UserError, match="diverged"):
        with log:
            monkeypatch.setattr(log._bar, "stop", fail)
            raise UserError("diverged")


def test_a_folder_that_cannot_be_made_costs_one_line(run: RunFolder, capsys: pytest.CaptureFixture):
    (run.path / "tensorboard").write_text("a file")
    train(run, 0, 3)
    (said,) = complaints(capsys.readouterr().out)
    assert "(File exists)" in said
    assert rows(run) == [1, 2, 3, 3]
