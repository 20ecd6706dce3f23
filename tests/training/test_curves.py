"""Curves, read back from the PNG: panels, odd histories, no pyplot, the smoothing."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.image import imread

from invseg_jax.training.curves import _running_mean, draw_curves


def history(steps):
    every = range(10, steps + 1, 10)
    return {
        "train/loss": [(s, 3.0 * np.exp(-s / 60) + 0.01) for s in every],
        "train/dice": [(s, 1 - np.exp(-s / 80)) for s in every],
        "val/dice/CSF": [(s, 1 - np.exp(-s / 90)) for s in every],
        "val/dice/mean": [(s, 1 - np.exp(-s / 100)) for s in every],
        "train/learning_rate": [(s, 1e-3) for s in every],
        "train/gradient_norm": [(s, 1.0) for s in every],
    }


def test_each_kind_of_series_has_a_panel(tmp_path):
    full = history(2000)
    draw_curves(tmp_path / "full.png", full)
    terms = {f"{of}/reconstruction": full["train/loss"] for of in ("train", "val")}
    draw_curves(tmp_path / "vae.png", full | terms)
    draw_curves(tmp_path / "loss.png", {"train/loss": full["train/loss"]})
    draw_curves(tmp_path / "other.png", {"train/gradient_norm": full["train/gradient_norm"]})
    draw_curves(tmp_path / "none.png", {})
    height = {n: imread(tmp_path / f"{n}.png").shape[0] for n in ("vae", "full", "loss")}
    assert height["vae"] > 1.2 * height["full"] and height["full"] > 2 * height["loss"]
    other, none = imread(tmp_path / "other.png"), imread(tmp_path / "none.png")
    np.testing.assert_array_equal(other, none)  # both say that nothing has been logged


def test_each_metric_that_a_task_shows_has_a_panel(tmp_path):
    series = {f"{of}/error": [(1, 0.5), (2, 0.25)] for of in ("train", "val")}
    both = {"train/loss": [(1, 1.0), (2, 0.5)]} | series
    draw_curves(tmp_path / "loss.png", both)
    draw_curves(tmp_path / "both.png", both, {"error": "error in mm"})
    draw_curves(tmp_path / "error.png", series, {"error": "error in mm", "other": "other"})
    height = {n: imread(tmp_path / f"{n}.png").shape[0] for n in ("loss", "both", "error")}
    assert height["error"] == height["loss"] < height["both"]


def test_dice_is_drawn_the_same_whether_it_is_named_or_not(tmp_path):
    draw_curves(tmp_path / "a.png", history(200))
    draw_curves(tmp_path / "b.png", history(200), {"dice": "Dice"})
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    "series",
    [
        {"train/loss": [(1, 0.5)]},
        {"train/loss": [(1, float("nan"))], "val/dice/a": [(1, float("nan"))]},
        {"train/loss": [(s, float("inf") if s > 50 else 1.0 / (s + 1)) for s in range(300)]},
        {"train/loss": [(s, -1.0 - s) for s in range(300)]},
        {"val/dice/$x": [(1, 0.5), (2, 0.6)], "val/dice/_y": [(1, 0.1)], "val/dice/核": [(1, 1.0)]},
        {"train/loss": [], "loss": [(3, 0.0), (4, 0.0)]},
        {f"val/dice/{i}": [(1, i / 20)] for i in range(20)},
    ],
)
def test_odd_histories_are_drawn(tmp_path, series):
    draw_curves(tmp_path / "p.png", series)
    picture = imread(tmp_path / "p.png")[..., :3]
    assert picture.min() < 0.5 < picture.max()


def test_pyplot_is_not_touched():
    code = (
        "import sys, tempfile, pathlib; from invseg_jax.training.curves import draw_curves;"
        "draw_curves(pathlib.Path(tempfile.mkdtemp()) / 'p.png', {'train/loss': [(1, 1.0)]});"
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_running_mean_keeps_gaps_and_the_level():
    assert _running_mean(np.arange(99.0))[50] == 50  # short: as it is
    value = np.arange(1000.0)
    np.testing.assert_allclose(_running_mean(value)[100:900], value[100:900], atol=0.5 + 1e-9)
    value[600:] = np.nan
    np.testing.assert_array_equal(np.isnan(_running_mean(value)), np.isnan(value))
