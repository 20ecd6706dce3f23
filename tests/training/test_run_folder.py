import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from invseg_jax.configuration import Config, base_config
from invseg_jax.data.fingerprint import Fingerprint
from invseg_jax.data.layouts.case import Region
from invseg_jax.data.normalise import Intensities
from invseg_jax.errors import UserError
from invseg_jax.training.run_folder import DataDescription, RunFolder

DATA = DataDescription(
    layout="msd",
    root="/data/Task04",
    modalities=("T1", "T2"),
    classes=("background", "front", "back"),
    values=(0, 1, 2),
    training=(("case_1", "aa"), ("case_2", "bb")),
    held_out=(("case_3", "cc"),),
)
FINGERPRINT = Fingerprint(
    cases=("case_1",),
    shapes=((4, 5, 6),),
    spacings=((1.0, 1.5, 2.0),),
    modalities=("T1",),
    intensities=(Intensities(1.0, 2.0, 3.0, 4.0, 5.0),),
    classes=("background", "front"),
    frequencies=(0.75, 0.25),
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A folder that holds a run, saved at step 3."""
    run = RunFolder(tmp_path / "deep" / "run")
    run.write(base_config(), DATA)
    saved(run, 3)
    return run


def saved(run: RunFolder, step: int) -> None:
    (run.checkpoints / str(step)).mkdir(parents=True)


def contents(run: RunFolder) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}


def test_what_is_written_is_read(run: RunFolder):
    assert run.read_data() == DATA
    read = run.read_config()
    assert read.to_dict() == base_config().to_dict()
    assert isinstance(read.data.patch, tuple)
    assert isinstance(read.model.settings.channels, tuple)
    assert {p.name for p in run.path.iterdir()} == {"config.json", "data.json", "checkpoints"}


def test_regions_are_read_as_they_were_written(tmp_path: Path):
    data = replace(DATA, regions=(Region("whole", (1, 2), 1), Region("core", (2,), 2)))
    assert DATA.segments == "classes background, front, back"
    assert data.segments == "regions whole, core"
    run = RunFolder(tmp_path)
    run.write(base_config(), data)
    assert run.read_data() == data


def test_a_run_from_before_there_was_a_choice_goes_on_as_it_was(run: RunFolder):
    written = json.loads((run.path / "config.json").read_text())
    del written["loss"], written["optimiser"]["name"]
    (run.path / "config.json").write_text(json.dumps(written))
    described = json.loads((run.path / "data.json").read_text())
    del described["regions"]
    (run.path / "data.json").write_text(json.dumps(described))
    assert run.read_data() == DATA
    other = base_config()
    other.optimiser.name = "sgd"
    with pytest.raises(UserError, match=r"optimiser.name \(adamw, now sgd\)"):
        run.write(other, DATA)
    run.write(base_config(), DATA)
    assert run.read_config().loss.dice == 1.0


def test_every_value_stands_in_the_file(run: RunFolder):
    config = json.loads((run.path / "config.json").read_text())
    assert config["data"]["patch"] == [64, 64, 64]
    assert config["optimiser"].keys() == dict(base_config().optimiser).keys()


@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("modalities", ("T2", "T1")),
        ("classes", ("background", "back", "front")),
        ("values", (0, 2, 1)),
        ("reference", 1),
        ("ignore", 3),
        ("regions", (Region("whole", (1, 2), 1),)),
    ],
)
def test_the_same_cases_with_another_meaning(run: RunFolder, part: str, other: object):
    before = contents(run)
    with pytest.raises(UserError, match=f"holds a run with other {part} .*another --workdir"):
        run.write(base_config(), replace(DATA, **{part: other}))
    assert contents(run) == before


def test_the_embedded_cohort_and_nothing_held_out(tmp_path: Path):
    data = replace(DATA, root=None, held_out=())
    RunFolder(tmp_path).write(base_config(), data)
    assert RunFolder(tmp_path).read_data() == data


def test_the_fingerprint_is_written_and_read(run: RunFolder):
    with pytest.raises(UserError, match=r"holds no trained run \(fingerprint.json is missing\)"):
        run.read_fingerprint()
    run.write(base_config(), DATA, FINGERPRINT)
    assert run.read_fingerprint() == FINGERPRINT
    for damaged in ("", "[1]", "{}", '{"cases": 3}'):
        (run.path / "fingerprint.json").write_text(damaged)
        with pytest.raises(UserError, match=r"fingerprint.json cannot be read") as caught:
            run.read_fingerprint()
        assert "\n" not in str(caught.value)


def test_a_resumed_run_may_differ_in_how_it_is_trained(run: RunFolder):
    config = base_config()
    config.steps, config.optimiser.learning_rate, config.keep = 7, 0.5, 9
    saved(run, 6)
    run.write(config, replace(DATA, root="/moved"))
    assert run.read_config().steps == 7
    assert run.read_data().root == "/moved"


def wider() -> Config:
    config = base_config()
    config.model.settings.channels = (8, 16)
    return config


def on_iseg() -> Config:
    config = base_config()
    config.data.layout = "iseg"
    return config


def resampled() -> Config:
    config = base_config()
    config.data.preprocess.spacing = (1.0, 1.0, 2.0)
    return config


def changed(key: str, value: Any) -> Config:
    config = base_config()
    config.update_from_flattened_dict({key: value})
    return config


def with_a_new_setting() -> Config:
    config = base_config()
    with config.unlocked():
        config.model.settings.novelty = 3
    return config


def test_a_resumed_run_may_be_evaluated_another_way(run: RunFolder):
    config = base_config()
    config.precision, config.model.stream, config.model.memory = "bfloat16", "fixed", "plain"
    run.write(config, DATA)
    assert run.read_config().model.stream == "fixed"


@pytest.mark.parametrize(
    "config, said",
    [
        (
            wider(),
            r"config\.model\.settings\.channels \(\[32, 64, 128, 256\], now \[8, 16\]\)",
        ),
        (base_config("UNet3D"), r"config\.model\.name \(FullInvRes, now UNet3D\)"),
        (resampled(), r"config\.data\.preprocess\.spacing \(None, now \[1\.0, 1\.0, 2\.0\]\)"),
        (on_iseg(), r"config\.data\.layout \(msd, now iseg\)"),
        (with_a_new_setting(), r"config\.model\.settings\.novelty \(absent, now 3\)"),
        (changed("seed", 1), r"config\.seed \(0, now 1\)"),
        (changed("steps", 2), r"saved at step 3, beyond config\.steps=2"),
    ],
)
def test_another_network_is_refused_and_nothing_changed(run: RunFolder, config, said: str):
    before = contents(run)
    with pytest.raises(UserError, match=said) as caught:
        run.write(config, DATA)
    assert str(run.path) in str(caught.value)
    assert "another --workdir" in str(caught.value)
    assert contents(run) == before


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("optimiser.learning_rate", 0.5, r"optimiser\.learning_rate \(.*, now 0\.5\)"),
        ("loss.dice", 0.0, r"loss\.dice \(1\.0, now 0\.0\)"),
        ("data.patch", (32, 32, 32), r"data\.patch"),
    ],
)
def test_a_finished_run_has_seen_what_its_file_says(run: RunFolder, key, value, said: str):
    saved(run, base_config().steps)
    before = contents(run)
    with pytest.raises(UserError, match=rf"another config\.{said}.*another --workdir"):
        run.write(changed(key, value), DATA)
    assert contents(run) == before
    # How it is evaluated may still change, and it may go on.
    run.write(changed("inference.overlap", 0.75), DATA)
    assert run.read_config().inference.overlap == 0.75
    longer = changed(key, value)
    longer.steps += 1
    run.write(longer, DATA)


def test_where_nothing_was_saved_there_is_nothing_to_resume(tmp_path: Path):
    run = RunFolder(tmp_path)
    run.write(base_config(), DATA)
    (run.checkpoints / "250.orbax-checkpoint-tmp").mkdir(parents=True)
    assert run.newest_step() == 0
    run.write(wider(), replace(DATA, training=DATA.training[:1]))
    assert tuple(run.read_config().model.settings.channels) == (8, 16)
    assert run.read_data().training == DATA.training[:1]


@pytest.mark.parametrize(
    "training",
    [
        (("case_1", "aa"),),
        (("case_1", "aa"), ("case_2", "changed")),
        (("case_2", "bb"), ("case_1", "aa")),
        (("case_1", "aa"), ("case_2", "bb"), ("case_4", "dd")),
    ],
)
def test_other_training_cases_are_refused_and_nothing_changed(run: RunFolder, training):
    before = contents(run)
    with pytest.raises(UserError, match=rf"other data \(2 training cases, now {len(training)}"):
        run.write(base_config(), replace(DATA, training=training))
    assert contents(run) == before


def test_a_folder_that_holds_no_run(tmp_path: Path):
    for read in (RunFolder(tmp_path).read_config, RunFolder(tmp_path).read_data):
        with pytest.raises(UserError, match=f"{tmp_path} holds no trained run"):
            read()
    assert RunFolder(tmp_path).read_history(100) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_a_damaged_file_is_one_line(run: RunFolder, name: str):
    content = (run.path / name).read_text()
    (run.path / name).write_text(content[: len(content) // 2])
    before = contents(run)
    read = run.read_config if name == "config.json" else run.read_data
    for act in (read, lambda: run.write(base_config(), DATA)):
        with pytest.raises(UserError, match=f"{name} cannot be read") as caught:
            act()
        assert "\n" not in str(caught.value)
    assert contents(run) == before


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write to .*Not a directory"):
        RunFolder(tmp_path / "file" / "run").write(base_config(), DATA)
    with pytest.raises(UserError, match=f"cannot write to {tmp_path}/file"):
        RunFolder(tmp_path / "file").append_history({"step": 1})
    assert (tmp_path / "file").read_text() == "mine"


def write_history(run: RunFolder, steps: list[int]) -> list[dict[str, float]]:
    rows = [{"step": step, "train/loss": step / 7} for step in steps]
    for row in rows:
        run.append_history(row)
    return rows


def test_history_comes_back(run: RunFolder):
    rows = write_history(run, [1, 2, 2, 5])
    assert run.read_history(5) == rows
    assert run.read_history(5) == rows


def test_history_is_cut_at_the_step_that_is_resumed(run: RunFolder):
    rows = write_history(run, [1, 2, 3, 4, 5])
    assert run.read_history(3) == rows[:3]
    again = write_history(run, [4])
    assert run.read_history(100) == rows[:3] + again


@pytest.mark.parametrize("left", [1, 5, 12, 25])
def test_a_half_written_last_line_is_dropped(run: RunFolder, left: int):
    rows = write_history(run, [1, 2, 3])
    file = run.path / "history.jsonl"
    whole = file.read_text()
    last = whole.splitlines()[-1]
    assert left < len(last)
    file.write_text(whole[: len(whole) - len(last) - 1 + left])
    assert run.read_history(100) == rows[:2]
    # What is added next stands on a line of its own.
    again = write_history(run, [3])
    assert run.read_history(100) == rows[:2] + again


def test_a_score_that_is_not_a_number(run: RunFolder):
    run.append_history({"step": 1, "val/dice/mean": float("nan")})
    (row,) = run.read_history(1)
    assert row["val/dice/mean"] != row["val/dice/mean"]


def test_the_vae_branch_is_made_for_its_patch(tmp_path: Path):
    run, config = RunFolder(tmp_path), base_config(vae=True)
    run.write(config, DATA)
    saved(run, 1)
    config.data.patch = (96, 96, 96)
    with pytest.raises(UserError, match=r"another config.data.patch .*96"):
        run.write(config, DATA)


def test_where_the_checkpoints_lie(tmp_path: Path):
    assert RunFolder(tmp_path).checkpoints == tmp_path / "checkpoints"


def test_a_second_training_is_refused_before_it_writes(run: RunFolder):
    other = base_config()
    other.steps = 7
    with run.training(base_config(), DATA, FINGERPRINT, lock=True):
        with pytest.raises(UserError, match="a training is at work in"):
            with run.training(other, DATA, FINGERPRINT, lock=True):
                pass
        assert run.read_config().steps != 7
        # Of several processes that train together, only one locks.
        with run.training(base_config(), DATA, FINGERPRINT, lock=False):
            pass
    with run.training(other, DATA, FINGERPRINT, lock=True):
        assert run.read_config().steps == 7
