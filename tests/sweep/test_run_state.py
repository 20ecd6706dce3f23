"""Which runs are finished, which are of other settings, and what they scored."""

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from invseg_jax.errors import UserError
from invseg_jax.runs import signed_json
from invseg_jax.sweep.grid import Run, Sweep
from invseg_jax.sweep.run_state import (
    is_scored,
    is_trained,
    read_result,
    refuse_another,
    scored_step,
    step_seconds,
)

SCORES = {"dice": {"a": 0.5, "b": None, "mean": 0.5}, "iou": {"a": 0.25, "mean": 0.25}, "odd": 3}


@pytest.fixture
def run(make_grid: Callable[..., Sweep]) -> Run:
    return next(make_grid().runs())


def test_a_finished_run_is_read(run: Run, finish: Callable[..., None], tmp_path: Path):
    finish(tmp_path, run, SCORES, rate=4.0)
    result = read_result(tmp_path, run, 40)
    assert result is not None
    assert result.scores["iou"] == {"a": 0.25, "mean": 0.25}
    assert result.scores["dice"]["mean"] == 0.5 and math.isnan(result.scores["dice"]["b"])
    assert set(result.scores) == {"dice", "iou"}
    assert result.step_seconds == 0.25  # not the first line, which compiled at 0.1 steps a second
    assert result.minutes == pytest.approx(40 * 0.25 / 60)
    refuse_another(tmp_path, run, 40, None)


def test_an_empty_folder_is_of_no_run(run: Run, tmp_path: Path):
    folder = tmp_path / "missing"
    refuse_another(folder, run, 40, None)
    assert not is_trained(folder, run.experiment(40)) and not is_scored(folder, run.experiment(40))
    assert read_result(folder, run, 40) is None


def test_a_run_on_its_way_is_not_finished(run: Run, finish: Callable[..., None], tmp_path: Path):
    finish(tmp_path, run, SCORES)
    (tmp_path / "checkpoints" / "40").rename(tmp_path / "checkpoints" / "40.orbax-checkpoint-tmp-1")
    (tmp_path / "checkpoints" / "20").mkdir()
    assert not is_trained(tmp_path, run.experiment(40))
    assert not is_scored(tmp_path, run.experiment(40))


def test_scores_of_an_earlier_checkpoint_do_not_count(
    run: Run, finish: Callable[..., None], tmp_path: Path
):
    finish(tmp_path, run, SCORES)
    later = (tmp_path / "compare" / "summary.json").stat().st_mtime + 10
    os.utime(tmp_path / "checkpoints" / "40", (later, later))
    assert is_trained(tmp_path, run.experiment(40)) and not is_scored(tmp_path, run.experiment(40))


def test_scores_of_another_configuration_do_not_count(
    run: Run, finish: Callable[..., None], tmp_path: Path
):
    finish(tmp_path, run, SCORES)
    file = tmp_path / "compare" / "summary.json"
    summary = json.loads(file.read_text())
    summary["config"]["optimiser"]["average"] = 0.5
    file.write_text(json.dumps(summary))
    assert is_trained(tmp_path, run.experiment(40)) and not is_scored(tmp_path, run.experiment(40))


@pytest.mark.parametrize("kind", ["classes", "regions"])
def test_a_flip_that_is_left_open_is_as_the_training_has_settled_it(
    kind: str, make_grid: Callable[..., Sweep], finish: Callable[..., None], tmp_path: Path
):
    run = next(make_grid().runs())
    assert run.experiment(40).augment.flip is None
    names = ["background", "left_kidney", "right_kidney"]
    other: dict[str, Any] = {
        **{"layout": "msd", "root": None, "modalities": ["MR"], "classes": ["a"], "values": [0]},
        **{"training": [["a", "0"]], "held_out": [["b", "1"]]},
    }
    data = other | {"classes": names, "values": list(range(len(names)))}
    if kind == "regions":
        regions = [{"name": name, "values": [1], "written": 1} for name in names]
        data = other | {"regions": regions}

    def settled(flip: Sequence[float], data: dict[str, Any]) -> Path:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        finish(folder, run, SCORES)
        (folder / "data.json").write_text(json.dumps(data))
        for file in ("config.json", "compare/summary.json"):
            content = json.loads((folder / file).read_text())
            config = content.get("config", content)
            config["augment"]["flip"] = flip
            (folder / file).write_text(json.dumps(content))
        return folder

    for flip, described in (([0, 0.5, 0.5], data), ([0.5] * 3, other)):
        folder = settled(flip, described)
        refuse_another(folder, run, 40, None)
        assert is_trained(folder, run.experiment(40)) and read_result(folder, run, 40) is not None
    # A run whose flip was given by hand is another one, and is no open one.
    for flip in ([0.5, 0.5, 0.5], [0, 0, 0]):
        folder = settled(flip, data)
        assert not is_trained(folder, run.experiment(40))
        with pytest.raises(UserError, match=r"was trained with config.augment.flip \[.*, now \["):
            refuse_another(folder, run, 40, None)


def test_a_run_of_other_settings_is_refused_by_key(
    run: Run, make_grid: Callable[..., Sweep], finish: Callable[..., None], tmp_path: Path
):
    finish(tmp_path, run, SCORES)
    other = next(make_grid(changes=["optimiser.average=0.5"]).runs())
    assert not is_trained(tmp_path, other.experiment(40))
    with pytest.raises(UserError, match=r"config\.optimiser\.average 0\.995, now 0\.5; give"):
        refuse_another(tmp_path, other, 40, None)
    with pytest.raises(UserError, match=r"config\.steps 40, now 60"):
        refuse_another(tmp_path, run, 60, None)
    refuse_another(tmp_path, run, None, None)  # a probe will tell
    # What changes nothing of the training may be another, and a key may be younger than the run.
    free = next(make_grid(changes=["inference.batch=1", "log_every=3"]).runs())
    refuse_another(tmp_path, free, 40, None)
    file = tmp_path / "config.json"
    older = json.loads(file.read_text())
    del older["data"]["cases"]
    file.write_text(json.dumps(older))
    refuse_another(tmp_path, run, 40, None)
    with pytest.raises(UserError, match="trained on the embedded cohort, now /data"):
        refuse_another(tmp_path, run, 40, "/data")


def test_scores_of_an_older_checkpoint_do_not_count(
    run: Run, finish: Callable[..., None], tmp_path: Path
):
    finish(tmp_path, run, SCORES)
    file = tmp_path / "compare" / "summary.json"
    summary = json.loads(file.read_text())
    assert scored_step(tmp_path) is None  # an earlier version did not say
    for step, counts in ((40, True), (20, False)):
        file.write_text(json.dumps(summary | {"scored": {"split": "val", "step": step}}))
        assert scored_step(tmp_path) == step
        assert is_scored(tmp_path, run.experiment(40)) == counts
    assert is_trained(tmp_path, run.experiment(40))


def test_a_name_that_is_no_step(run: Run, finish: Callable[..., None], tmp_path: Path):
    finish(tmp_path, run, SCORES)
    for name in ("²", "500.damaged"):
        (tmp_path / "checkpoints" / name).mkdir()
    assert is_scored(tmp_path, run.experiment(40))


def test_the_digest_of_a_run_file_counts(run: Run, finish: Callable[..., None], tmp_path: Path):
    finish(tmp_path, run, SCORES)
    for name in ("config.json", "data.json"):
        file = tmp_path / name
        file.write_text(signed_json.to_text(json.loads(file.read_text())))
    assert is_scored(tmp_path, run.experiment(40))
    refuse_another(tmp_path, run, 40, None)
    for name in ("config.json", "data.json"):
        file = tmp_path / name
        content = file.read_bytes()
        file.write_bytes(
            content.replace(b'"root": null', b'"root": "/d"').replace(b'"seed": 0', b'"seed": 1')
        )
        with pytest.raises(UserError, match=f"{name} cannot be read: .*digest"):
            refuse_another(tmp_path, run, 40, None)
        file.write_bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"3",
        b"\xff",
        b"[" * 100_000,
        b'{"mean": 3}',
        b'{"mean": {}}',
        b'{"mean": {"dice": {"mean": "x"}}}',
        b'{"mean": {"dice": {"mean": [1]}}}',
        b'{"scored": []}',
    ],
)
def test_a_damaged_summary_is_one_line(
    run: Run, finish: Callable[..., None], tmp_path: Path, content: bytes
):
    finish(tmp_path, run, SCORES)
    file = tmp_path / "compare" / "summary.json"
    if content.startswith(b'{"mean'):
        config = json.loads(file.read_text())["config"]
        content = json.dumps(json.loads(content) | {"config": config}).encode()
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"summary\.json cannot be read: .*; delete it") as caught:
        read_result(tmp_path, run, 40)
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_named(run: Run, finish: Callable[..., None], tmp_path: Path):
    finish(tmp_path, run, SCORES)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json cannot be read"):
        refuse_another(tmp_path, run, 40, None)


@pytest.mark.parametrize(
    "rates, seconds",
    [
        ([0.1, 2.0], 0.5),
        ([0.1, 9.0, 9.0, 1.0, 2.0, 4.0], 0.5),  # the later half: 1, 2, 4
        ([0.1], math.nan),
        ([], math.nan),
    ],
)
def test_the_time_of_a_step_is_that_of_the_later_half(
    tmp_path: Path, rates: list[float], seconds: float
):
    lines = [json.dumps({"step": i, "train/steps_per_second": r}) for i, r in enumerate(rates)]
    lines.insert(1, '{"step": 3, "train/steps_per_second": "fast"}')
    (tmp_path / "history.jsonl").write_text("\n".join([*lines, "[]", '{"step": 9, "tra']))
    assert step_seconds(tmp_path) == pytest.approx(seconds, nan_ok=True)
    assert math.isnan(step_seconds(tmp_path / "missing"))
