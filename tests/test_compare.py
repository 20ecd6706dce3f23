"""The command line: what it refuses at once, and a comparison end to end, resumed and extended."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from invseg_jax import command, compare
from invseg_jax.sweep import comparison

ROOT = Path(__file__).resolve().parent.parent
QUICK = f"--config={ROOT / 'configs' / 'iseg.py:quick'}"


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((f"{QUICK}-unett",), "there is no variant 'quick-unett'"),
        ((QUICK, "--config=configs/missing.py"), "configs/missing.py"),
        ((QUICK, "--set=stepz=3"), 'Did you mean "steps" instead of "stepz"?'),
        ((QUICK, "--set=steps"), "write it as KEY=VALUE"),
        ((QUICK, "--vary=data.foregruond=0|1"), 'Did you mean "foreground"'),
        ((QUICK, "--vary=data.foreground"), "KEY=VALUE|VALUE|VALUE"),
        ((QUICK, "--vary=steps=many|3"), "'many'"),
        ((QUICK, "--folds=0,9"), "config.data.fold 9 of 5 folds"),
        ((QUICK, "--seeds=a"), "--seeds 'a': give whole numbers"),
        ((QUICK, QUICK), "would both be called iseg_quick"),
        ((QUICK, "--minutes=3", "--vary=steps=3|4"), "--minutes sets config.steps"),
        ((QUICK, "--minutes=0"), "--minutes 0.0"),
        ((QUICK, "--data=nowhere"), "--data nowhere is not a folder"),
        ((), "--config"),
    ],
)
def test_mistakes_are_one_line_before_the_first_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
):
    def never(*_) -> int:
        raise AssertionError("something was trained")

    monkeypatch.setattr(comparison, "run_command", never)
    with pytest.raises(SystemExit) as caught:
        argv = ["compare", *arguments, f"--output={tmp_path / 'out'}"]
        command.run(compare.main, compare.FLAGS, compare.__doc__, argv)
    compare.FLAGS.unparse_flags()
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("error: ") and error.count("\n") == 1
    assert said in error
    assert not (tmp_path / "out").exists()


TINY = {
    "data.embedded.subjects": 5,
    "data.embedded.spacing": "6.0",
    "data.patch": "(16,16,16)",
    "data.batch": 1,
    "data.threads": 0,
    "model.settings.channels": "(8,)",
    "model.settings.auxiliary": 0,
    "log_every": 1,
    "eval_cases": 1,
    "steps": 3,
    "optimiser.warmup": 1,
}


@pytest.mark.slow
def test_a_comparison_is_trained_resumed_and_extended(tmp_path: Path):
    out = tmp_path / "out"
    kept = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), kept])}
    changes = [f"--set={key}={value}" for key, value in TINY.items()]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "invseg_jax.compare", f"{QUICK}-unet", *changes, *more]
            + [f"--output={out}"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    # Its loss is no number after the first step, so that training it fails.
    vary = "--vary=optimiser.learning_rate=0.01|1e38"
    first = run(vary)
    assert first.returncode == 1, first.stderr
    good, bad = (f"iseg_quick-unet_learning_rate_{value}_fold0_seed0" for value in ("0.01", "1e38"))
    assert f"failed: {bad}: train ended with status 2" in first.stdout
    summary = json.loads((out / "runs" / good / "compare" / "summary.json").read_text())
    with (out / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["config.optimiser.learning_rate"], row["runs"]) for row in rows] == [
        ("0.01", "1"),
        ("1e38", "0"),
    ]
    assert float(rows[0]["dice_mean_mean"]) == summary["mean"]["dice"]["mean"]
    assert rows[0]["dice_mean_sd"] == "" and int(rows[0]["compiled_bytes"]) > 0

    # Killed before its last checkpoint was written.
    history = out / "runs" / good / "history.jsonl"
    (out / "runs" / good / "checkpoints" / "3").rename(tmp_path / "3")
    second = run(vary.rpartition("|")[0], "--seeds=0,1")
    assert second.returncode == 0, second.stderr
    assert "is finished already" not in second.stdout
    assert f"{good[:-1]}1" in second.stdout
    assert [json.loads(line)["step"] for line in history.read_text().splitlines()][-1] == 3
    with (out / "runs.csv").open() as file:
        scores = [float(row["dice_mean"]) for row in csv.DictReader(file)]
    with (out / "table.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert len(scores) == 2
    assert scores[0] == summary["mean"]["dice"]["mean"]  # resumed to the same bits
    np.testing.assert_allclose(float(row["dice_mean_sd"]), np.std(scores, ddof=1))
