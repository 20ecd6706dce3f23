"""The number of steps that fill a time: measured once, kept, refused for another time."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from invseg_jax.errors import UserError
from invseg_jax.files.folder_lock import LOCK, folder_lock
from invseg_jax.sweep.equal_time import EqualTime
from invseg_jax.sweep.grid import Run, Sweep
from invseg_jax.training.preemption import StopRequest


@pytest.fixture
def runs(make_grid: Callable[..., Sweep]) -> list[Run]:
    return list(make_grid(seeds=(0, 1)).runs())


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines of the probes; each logs 3.7 steps a second, once it has compiled."""
    lines: list[list[str]] = []

    def run_command(module: str, arguments: list[str], stop: StopRequest) -> int:
        lines.append([module, *arguments])
        (workdir,) = [Path(a.partition("=")[2]) for a in arguments if a.startswith("--workdir=")]
        assert [path.name for path in workdir.iterdir()] == [LOCK]
        rows = [{"step": i, "train/steps_per_second": 3.7 if i else 0.02} for i in range(9)]
        (workdir / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return 0

    monkeypatch.setattr(sys.modules[EqualTime.__module__], "run_command", run_command)
    return lines


def test_the_steps_are_measured_once(runs: list[Run], probed: list[list[str]], tmp_path: Path):
    times = EqualTime(tmp_path, 12.0)
    assert times.known(runs[0]) is None
    # 3.7 steps a second for 720 seconds are 2664, to three digits 2660.
    assert times.measure(runs[0], ["--data=ROOT"], StopRequest()) == 2660
    ((module, *arguments),) = probed
    assert module == "invseg_jax.train"
    assert {"--config.steps=40", "--data=ROOT", "--config.seed=0"} <= set(arguments)
    assert f"--workdir={tmp_path / 'probes' / 'full'}" in arguments

    again = EqualTime(tmp_path, 12.0)
    assert again.known(runs[0]) == 2660
    assert again.known(next(run for run in runs if run.seed == 1)) == 2660  # of the same row
    assert again.known(runs[1]) is None  # another row


def test_what_is_left_of_a_probe_is_thrown_away(
    runs: list[Run], probed: list[list[str]], tmp_path: Path
):
    probe = tmp_path / "probes" / "full"
    (probe / "checkpoints" / "20").mkdir(parents=True)
    (probe / "config.json").touch()
    # It may be at work still, left behind by a comparison that was killed.
    with folder_lock(probe, "a training"), pytest.raises(UserError, match="a probe is at work"):
        EqualTime(tmp_path, 0.01).measure(runs[0], [], StopRequest())
    assert EqualTime(tmp_path, 0.01).measure(runs[0], [], StopRequest()) == 2
    assert len(probed) == 1


def test_another_time_is_refused_and_other_settings_are_measured_anew(
    runs: list[Run],
    probed: list[list[str]],
    make_grid: Callable[..., Sweep],
    tmp_path: Path,
):
    EqualTime(tmp_path, 12.0).measure(runs[0], [], StopRequest())
    with pytest.raises(UserError, match="of full for 12 minutes, now 24; give another --output"):
        EqualTime(tmp_path, 24.0).known(runs[0])
    other = next(make_grid(changes=["data.batch=4"]).runs())
    assert EqualTime(tmp_path, 12.0).known(other) is None
    # What changes nothing of the training leaves its steps as they are.
    shown = next(make_grid(changes=["log_every=3", "eval_cases=1"]).runs())
    assert EqualTime(tmp_path, 12.0).known(shown) is not None


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_no_time_is_refused(minutes: float, tmp_path: Path):
    with pytest.raises(UserError, match="--minutes"):
        EqualTime(tmp_path, minutes)


def test_a_probe_that_fails_is_told(
    runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys.modules[EqualTime.__module__], "run_command", lambda *_: 2)
    with pytest.raises(UserError, match="probe of 40 steps ended with status 2"):
        EqualTime(tmp_path, 1.0).measure(runs[0], [], StopRequest())
    assert not (tmp_path / "steps.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        '{"a": ',
        "[1]",
        "\xff",
        '{"a": 3}',
        '{"a": {"minutes": 1, "steps": 3}}',
        '{"a": {"settings": "x", "steps": 3}}',
        '{"a": {"settings": "x", "minutes": "1", "steps": 3}}',
        '{"a": {"settings": "x", "minutes": 1, "steps": 0}}',
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str):
    (tmp_path / "steps.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"steps\.json cannot be read"):
        EqualTime(tmp_path, 1.0)
