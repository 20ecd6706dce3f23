"""A run of an earlier version is evaluated, resumed and predicted with by this one.

tests/fixtures/make_run.py says how it was made: by commit 0bea707, on the balls of
tests/tiny_run.py, with 2 of 4 steps, and its own resume of it.
"""

import json
import shutil
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.evaluation.prediction import predict
from invseg_jax.evaluation.scoring import evaluate
from invseg_jax.inference.network import load_network
from invseg_jax.inference.trained_run import SegmentationRun
from tests.tiny_run import load, tiny_config
from tests.trained import train

ARCHIVE = Path(__file__).parent / "fixtures" / "run-0bea707.zip"
# What that version did with the same configuration: voxels counted as cubes of 1 mm, and a warm-up
# of 50 steps was cut to half of the run.
AS_THEN = {"augment.spacing": (1.0, 1.0, 1.0), "optimiser.warmup": 2}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The run as that version ended it."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def half(whole: Path) -> Path:
    """The same, killed after its checkpoint of step 2."""
    run = shutil.copytree(whole, whole.with_name("half"))
    shutil.rmtree(run / "checkpoints" / "4")
    shutil.rmtree(run / "eval")
    return run


def test_it_is_evaluated_and_predicted_with(whole: Path, balls: Path, tmp_path: Path):
    before = {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()}
    then = json.loads((whole / "eval" / "summary.json").read_text())
    now = evaluate(whole, tmp_path / "eval", root=str(balls))
    assert now["scored"]["step"] == 4
    assert [case["id"] for case in now["cases"]] == [case["id"] for case in then["cases"]]
    for name, dice in then["mean"]["dice"].items():
        assert now["mean"]["dice"][name] == pytest.approx(dice, abs=5e-3)
    (target,) = predict([whole], balls / "imagesTr" / "ball_000.nii.gz", tmp_path / "maps")
    found, expected = load(target), load(whole / "maps" / "ball_000.nii.gz")
    np.testing.assert_allclose(np.asarray(found.affine), np.asarray(expected.affine), atol=1e-6)
    assert found.shape == expected.shape
    # Two classes may be as probable as each other, on another processor.
    assert np.mean(found.get_fdata() == expected.get_fdata()) > 0.99
    assert {p: p.read_bytes() for p in whole.rglob("*") if p.is_file()} == before


def test_it_is_resumed_as_that_version_resumed_it(whole: Path, half: Path, balls: Path):
    train(tiny_config().changed(AS_THEN), half, str(balls))
    assert sorted(p.name for p in (half / "checkpoints").iterdir()) == ["2", "4"]
    then, now = (load_network(run)[0] for run in (whole, half))
    assert now.step == then.step == 4
    leaves = jax.tree_util.tree_leaves_with_path(then.params)
    for (path, before), after in zip(leaves, jax.tree.leaves(now.params), strict=True):
        # That version's weight decay shortened the vectors of rotations, which count by direction.
        turns = "turns" in jax.tree_util.keystr(path)
        a, b = (np.asarray(x) / (np.linalg.norm(x) if turns else 1) for x in (after, before))
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6)
    rows = [json.loads(line) for line in (half / "history.jsonl").read_text().splitlines()]
    known = [json.loads(line) for line in (whole / "history.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 4]
    assert rows[:2] == known[:2]
    for before, after in zip(known, rows, strict=True):
        for name in ("train/loss", "train/dice", "train/learning_rate", "val/dice/mean"):
            if name in before:
                assert after[name] == pytest.approx(before[name], rel=1e-4), name
    run = SegmentationRun(half)
    assert run.read_config().optimiser.warmup == 2
    assert json.loads((half / "config.json").read_text())["format"] == 4
    assert run.known_by() == "voxels" and len(run.read_data().training) == 4
    # A finished run may be started again, though its configuration says more than was written.
    train(tiny_config().changed(AS_THEN), half, str(balls))


def test_another_network_does_not_go_on_with_it(half: Path, balls: Path):
    before = {p: p.read_bytes() for p in half.rglob("*.json*")}
    with pytest.raises(UserError, match=r"model\.settings\.channels \(\[4, 8\], now \[8, 8\]\)"):
        train(tiny_config().changed({"model.settings.channels": (8, 8)}), half, str(balls))
    assert {p: p.read_bytes() for p in half.rglob("*.json*")} == before


def test_what_ended_then_is_left_alone_now(whole: Path, balls: Path):
    before = {p: p.read_bytes() for p in (whole / "checkpoints").rglob("*") if p.is_file()}
    # Its spacing, which nobody had given, may be that of the data now.
    train(tiny_config().changed({"optimiser.warmup": 2}), whole, str(balls))
    with pytest.raises(UserError, match=r"another config.optimiser.warmup \(2, now 1\)"):
        train(tiny_config(), whole, str(balls))
    assert {p: p.read_bytes() for p in (whole / "checkpoints").rglob("*") if p.is_file()} == before
