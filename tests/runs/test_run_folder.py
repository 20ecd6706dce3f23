import json
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from invseg_jax.data.layouts.case import Region
from invseg_jax.data.prepare.fingerprint import Fingerprint
from invseg_jax.data.prepare.normalise import Intensities
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment, base_experiment
from invseg_jax.inference.resuming import settings_fault
from invseg_jax.inference.trained_run import DataDescription, SegmentationRun, describe
from invseg_jax.runs.run_folder import RunFolder

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
def run(tmp_path: Path) -> SegmentationRun:
    """A folder that holds a run, saved at step 3."""
    run = SegmentationRun(tmp_path / "deep" / "run")
    run.write(base_experiment(), DATA)
    saved(run, 3)
    return run


def saved(run: SegmentationRun, step: int) -> None:
    (run.checkpoints / str(step)).mkdir(parents=True)


def contents(run: SegmentationRun) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file()}


def as_an_earlier_version(run: SegmentationRun, name: str, *without: str) -> None:
    """Takes format, digest and some keys, named by their path, out of a JSON file."""
    values = json.loads((run.path / name).read_text())
    for path in ("format", "digest", *without):
        *sections, key = path.split(".")
        del reduce(getitem, sections, values)[key]
    (run.path / name).write_text(json.dumps(values))


def test_what_is_written_is_read(run: SegmentationRun):
    assert run.read_data() == DATA
    read = run.read_config()
    assert read == base_experiment()
    assert isinstance(read.data.patch, tuple)
    assert isinstance(read.model.channels, tuple)
    assert {p.name for p in run.path.iterdir()} == {"config.json", "data.json", "checkpoints"}


def test_regions_are_read_as_they_were_written(tmp_path: Path):
    data = replace(DATA, regions=(Region("whole", (1, 2), 1), Region("core", (2,), 2)))
    assert DATA.segments == "classes background, front, back"
    assert data.segments == "regions whole, core"
    run = SegmentationRun(tmp_path)
    run.write(base_experiment(), data)
    assert run.read_data() == data


def test_a_run_from_before_there_was_a_choice_goes_on_as_it_was(run: SegmentationRun):
    as_an_earlier_version(run, "config.json", "loss", "optimiser.name")
    as_an_earlier_version(run, "data.json", "regions", "images")
    assert run.read_data() == DATA
    other = base_experiment().changed({"optimiser.name": "sgd"})
    with pytest.raises(UserError, match=r"optimiser.name \(adamw, now sgd\)"):
        run.write(other, DATA)
    run.write(base_experiment(), DATA)
    assert run.read_config().loss.dice == 1.0


def test_every_value_stands_in_the_file(run: SegmentationRun):
    config = json.loads((run.path / "config.json").read_text())
    assert config["data"]["patch"] == [64, 64, 64]
    assert config["optimiser"].keys() == base_experiment().optimiser.values().keys()


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
def test_the_same_cases_with_another_meaning(run: SegmentationRun, part: str, other: object):
    before = contents(run)
    with pytest.raises(UserError, match=f"holds a run with other {part} .*another --workdir"):
        run.write(base_experiment(), replace(DATA, **{part: other}))
    assert contents(run) == before


def test_the_embedded_cohort_and_nothing_held_out(tmp_path: Path):
    data = replace(DATA, root=None, held_out=())
    SegmentationRun(tmp_path).write(base_experiment(), data)
    assert SegmentationRun(tmp_path).read_data() == data


def test_the_fingerprint_is_written_and_read(run: SegmentationRun):
    with pytest.raises(UserError, match=r"holds no trained run \(fingerprint.json is missing\)"):
        run.read_fingerprint()
    run.write(base_experiment(), DATA, FINGERPRINT)
    assert run.read_fingerprint() == FINGERPRINT
    as_an_earlier_version(run, "fingerprint.json")
    assert run.read_fingerprint() == FINGERPRINT
    for damaged in ("", "[1]", "{}", '{"cases": 3}'):
        (run.path / "fingerprint.json").write_text(damaged)
        with pytest.raises(UserError, match=r"fingerprint.json cannot be read") as caught:
            run.read_fingerprint()
        assert "\n" not in str(caught.value)


def test_a_resumed_run_may_differ_in_how_it_is_trained(run: SegmentationRun):
    shorter = {"steps": 7, "optimiser.warmup": 7}
    config = changed({**shorter, "optimiser.learning_rate": 0.5, "keep": 9})
    saved(run, 6)
    run.write(config, replace(DATA, root="/moved"))
    assert run.read_config().steps == 7
    assert run.read_data().root == "/moved"


def changed(changes: dict[str, Any]) -> Experiment:
    return base_experiment().changed(changes)


WIDER = changed({"model.settings.channels": (8, 16)})


def test_a_resumed_run_may_be_evaluated_another_way(run: SegmentationRun):
    config = changed({"precision": "bfloat16", "model.stream": "fixed", "model.memory": "plain"})
    run.write(config, DATA)
    assert run.read_config().model.stream == "fixed"


@pytest.mark.parametrize(
    "config, said",
    [
        (
            WIDER,
            r"config\.model\.settings\.channels \(\[32, 64, 128, 256\], now \[8, 16\]\)",
        ),
        (base_experiment("UNet3D"), r"config\.model\.name \(FullInvRes, now UNet3D\)"),
        (
            changed({"data.preprocess.spacing": (1.0, 1.0, 2.0)}),
            r"config\.data\.preprocess\.spacing \(None, now \[1\.0, 1\.0, 2\.0\]\)",
        ),
        (changed({"data.layout": "iseg"}), r"config\.data\.layout \(msd, now iseg\)"),
        (changed({"seed": 1}), r"config\.seed \(0, now 1\)"),
        (changed({"steps": 2, "optimiser.warmup": 1}), r"saved at step 3, beyond config\.steps=2"),
    ],
)
def test_another_network_is_refused_and_nothing_changed(run: SegmentationRun, config, said: str):
    before = contents(run)
    with pytest.raises(UserError, match=said) as caught:
        run.write(config, DATA)
    assert str(run.path) in str(caught.value)
    assert "another --workdir" in str(caught.value)
    assert contents(run) == before


def test_a_setting_that_the_run_did_not_have_is_another_network():
    earlier = base_experiment().to_json()
    now: Any = base_experiment().to_json()
    assert settings_fault(earlier, now, 3) is None
    now["model"]["settings"]["novelty"] = 3
    fault = settings_fault(earlier, now, 3)
    assert fault is not None and "config.model.settings.novelty (absent, now 3)" in fault


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("optimiser.learning_rate", 0.5, r"optimiser\.learning_rate \(.*, now 0\.5\)"),
        ("loss.dice", 0.0, r"loss\.dice \(1\.0, now 0\.0\)"),
        ("data.patch", (32, 32, 32), r"data\.patch"),
    ],
)
def test_a_finished_run_has_seen_what_its_file_says(run: SegmentationRun, key, value, said: str):
    saved(run, base_experiment().steps)
    before = contents(run)
    with pytest.raises(UserError, match=rf"another config\.{said}.*another --workdir"):
        run.write(changed({key: value}), DATA)
    assert contents(run) == before
    # How it is evaluated may still change, and it may go on.
    run.write(changed({"inference.overlap": 0.75}), DATA)
    assert run.read_config().inference.overlap == 0.75
    run.write(changed({key: value, "steps": base_experiment().steps + 1}), DATA)


def test_where_nothing_was_saved_there_is_nothing_to_resume(tmp_path: Path):
    run = SegmentationRun(tmp_path)
    run.write(base_experiment(), DATA)
    (run.checkpoints / "250.orbax-checkpoint-tmp").mkdir(parents=True)
    assert run.newest_step() == 0
    run.write(WIDER, replace(DATA, training=DATA.training[:1]))
    assert run.read_config().model.channels == (8, 16)
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
def test_other_training_cases_are_refused_and_nothing_changed(run: SegmentationRun, training):
    before = contents(run)
    with pytest.raises(UserError, match=rf"other data \(2 training cases, now {len(training)}"):
        run.write(base_experiment(), replace(DATA, training=training))
    assert contents(run) == before


def test_a_folder_that_holds_no_run(tmp_path: Path):
    for read in (SegmentationRun(tmp_path).read_config, SegmentationRun(tmp_path).read_data):
        with pytest.raises(UserError, match=f"{tmp_path} holds no trained run"):
            read()
    assert SegmentationRun(tmp_path).read_history(100) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_a_damaged_file_is_one_line(run: SegmentationRun, name: str):
    content = (run.path / name).read_text()
    (run.path / name).write_text(content[: len(content) // 2])
    before = contents(run)
    read = run.read_config if name == "config.json" else run.read_data
    for act in (read, lambda: run.write(base_experiment(), DATA)):
        with pytest.raises(UserError, match=f"{name} cannot be read") as caught:
            act()
        assert "\n" not in str(caught.value)
    assert contents(run) == before


def test_a_folder_that_cannot_be_made(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write to .*Not a directory"):
        SegmentationRun(tmp_path / "file" / "run").write(base_experiment(), DATA)
    with pytest.raises(UserError, match=f"cannot write to {tmp_path}/file"):
        RunFolder(tmp_path / "file").append_history({"step": 1})
    assert (tmp_path / "file").read_text() == "mine"


def write_history(run: SegmentationRun, steps: list[int]) -> list[dict[str, float]]:
    rows = [{"step": step, "train/loss": step / 7} for step in steps]
    for row in rows:
        run.append_history(row)
    return rows


def readers(run: SegmentationRun) -> dict[str, Callable[[], Any]]:
    return {
        "config.json": run.read_config,
        "data.json": run.read_data,
        "fingerprint.json": run.read_fingerprint,
    }


def leaves(values: Any, path: tuple = ()):
    """The path of every value in JSON, of objects and lists too."""
    if path:
        yield path
    items = values.items() if isinstance(values, dict) else ()
    items = enumerate(values) if isinstance(values, list) else items
    for key, value in items:
        yield from leaves(value, (*path, key))


def without_digest(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "digest"}


@pytest.mark.parametrize("name", ["config.json", "data.json", "fingerprint.json"])
def test_what_is_lost_is_named_and_never_made_up(run: SegmentationRun, name: str):
    """Each key of the file, with the digest and without."""
    run = SegmentationRun(run.path.with_name("with regions"))
    run.write(base_experiment(), replace(DATA, regions=(Region("whole", (1, 2), 1),)), FINGERPRINT)
    file, read = run.path / name, readers(run)[name]
    whole = json.loads(file.read_text())
    for path in leaves(whole):
        if isinstance(path[-1], int) or path == ("digest",):
            continue
        lost = json.loads(file.read_text())
        del reduce(getitem, path[:-1], lost)[path[-1]]
        before = file.read_bytes()
        for values in (lost, without_digest(lost)):
            file.write_text(json.dumps(values))
            if path == ("format",) and "digest" not in values:
                continue  # as of an earlier version
            with pytest.raises(UserError, match=f"{name} cannot be read: ") as caught:
                read()
            assert "\n" not in str(caught.value)
        if path != ("format",):
            assert f"{path[-1]} is missing" in str(caught.value)
        file.write_bytes(before)


@pytest.mark.parametrize("name", ["config.json", "data.json", "fingerprint.json"])
@pytest.mark.parametrize("value", [None, True, "x", -2.5, [], [{}]])
def test_a_value_of_another_type_is_one_line_or_fits(run: SegmentationRun, name: str, value: Any):
    run = SegmentationRun(run.path.with_name("with regions"))
    run.write(base_experiment(), replace(DATA, regions=(Region("whole", (1, 2), 1),)), FINGERPRINT)
    file, read = run.path / name, readers(run)[name]
    content = file.read_bytes()
    refused = 0
    for path in leaves(without_digest(json.loads(content))):
        other = without_digest(json.loads(content))
        reduce(getitem, path[:-1], other)[path[-1]] = value
        file.write_text(json.dumps(other))
        try:
            read()
        except UserError as error:
            refused += 1
            assert str(file) in str(error) and "\n" not in str(error)
            named = [part for part in path if isinstance(part, str)]
            assert named[-1] in str(error)
    assert refused > 5


@pytest.mark.parametrize("name", ["config.json", "data.json", "fingerprint.json"])
def test_a_flipped_bit_is_one_line_or_changes_nothing(run: SegmentationRun, name: str):
    run.write(base_experiment(), DATA, FINGERPRINT)
    file, read = run.path / name, readers(run)[name]
    content, right, found = file.read_bytes(), read(), 0
    for at in range(0, len(content), max(1, len(content) // 400)):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        file.write_bytes(flipped)
        try:
            assert read() == right  # as a blank that is another blank
        except UserError as error:
            assert "\n" not in str(error)
            found += 1
    assert found > 150


def test_a_key_that_there_is_not_is_named(run: SegmentationRun):
    file = run.path / "config.json"
    values = without_digest(json.loads(file.read_text()))
    values["data"]["flod"] = 1
    file.write_text(json.dumps(values))
    for act in (run.read_config, lambda: run.write(base_experiment(), DATA)):
        with pytest.raises(UserError, match=r"config.data.flod is unknown; correct it or put"):
            act()
    # In a file of an earlier version too.
    del values["format"]
    file.write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"config.data.flod is unknown"):
        run.read_config()


def test_a_change_on_purpose_is_taken_without_the_digest(run: SegmentationRun):
    file = run.path / "config.json"
    file.write_text(file.read_text().replace('"max_bytes": 4294967296', '"max_bytes": 9000000000'))
    with pytest.raises(UserError, match='delete its "digest" line if you meant the change'):
        run.read_config()
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if '"digest"' not in line))
    assert run.read_config().data.max_bytes == 9_000_000_000


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("values", [0, 1], "it has 3 classes and 2 values"),
        ("reference", 2, "reference is 2, and there are 2 modalities, counted from 0"),
        ("modalities", [], "it has no modalities or no classes"),
    ],
)
def test_a_description_must_agree_with_itself(
    run: SegmentationRun, key: str, value: Any, said: str
):
    file = run.path / "data.json"
    values = without_digest(json.loads(file.read_text()))
    file.write_text(json.dumps(values | {key: value}))
    with pytest.raises(UserError, match=said):
        run.read_data()


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_a_run_that_lost_a_file_does_not_go_on(run: SegmentationRun, name: str):
    (run.path / name).unlink()
    before = contents(run)
    with pytest.raises(UserError, match=f"the checkpoint of step 3 and no {name}; put it back"):
        run.write(base_experiment(), DATA)
    assert contents(run) == before


def test_a_name_that_is_no_step(run: SegmentationRun):
    for name in ("²", "007", "500.damaged"):
        (run.checkpoints / name).mkdir()
    (run.checkpoints / "900").write_text("a file")
    assert run.newest_step() == 3


def test_history_comes_back(run: SegmentationRun):
    rows = write_history(run, [1, 2, 2, 5])
    assert run.read_history(5) == rows
    assert run.read_history(5) == rows


def test_history_is_cut_at_the_step_that_is_resumed(run: SegmentationRun):
    rows = write_history(run, [1, 2, 3, 4, 5])
    assert run.read_history(3) == rows[:3]
    again = write_history(run, [4])
    assert run.read_history(100) == rows[:3] + again


@pytest.mark.parametrize("name", ["step", "train/loss"])
def test_a_line_with_a_number_beyond_all_floats_is_dropped(run: SegmentationRun, name: str):
    rows = write_history(run, [1, 2])
    with (run.path / "history.jsonl").open("a") as file:
        file.write(json.dumps({"step": 2, "train/loss": 1.0} | {name: 10**400}) + "\n")
    assert run.read_history(100) == rows


@pytest.mark.parametrize("left", [1, 5, 12, 25])
def test_a_half_written_last_line_is_dropped(run: SegmentationRun, left: int):
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


def test_lines_that_are_no_rows_are_passed_over(run: SegmentationRun):
    rows = write_history(run, [1, 2])
    with (run.path / "history.jsonl").open("ab") as file:
        file.write(b'[1]\n3\n"x"\nnull\n{"step": "4"}\n{"step": true}\n{"loss": 1.0}\n\xff\xfe\n\n')
        file.write(b'{"step": 2, "train/loss": "x"}\n{"step": NaN}\n{"step": 2.5}\n{"ste')
    assert run.read_history(100) == rows
    rows += write_history(run, [5])
    assert run.read_history(100) == rows


def test_a_score_that_is_not_a_number(run: SegmentationRun):
    run.append_history({"step": 1, "val/dice/mean": float("nan")})
    (row,) = run.read_history(1)
    assert row["val/dice/mean"] != row["val/dice/mean"]
    # In the file it is strict JSON.
    line = (run.path / "history.jsonl").read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "val/dice/mean": None}


def test_the_vae_branch_is_made_for_its_patch(tmp_path: Path):
    run, config = SegmentationRun(tmp_path), base_experiment(vae=True)
    run.write(config, DATA)
    saved(run, 1)
    config = config.changed({"data.patch": (96, 96, 96)})
    with pytest.raises(UserError, match=r"another config.data.patch .*96"):
        run.write(config, DATA)


def test_where_the_checkpoints_lie(tmp_path: Path):
    assert SegmentationRun(tmp_path).checkpoints == tmp_path / "checkpoints"


def test_a_second_training_is_refused_before_it_writes(run: SegmentationRun):
    first = describe(base_experiment(), DATA, FINGERPRINT)
    other = describe(changed({"steps": 7, "optimiser.warmup": 7}), DATA, FINGERPRINT)
    with run.training(first):
        with pytest.raises(UserError, match="a training is at work in"):
            with run.training(other):
                pass
        assert run.read_config().steps != 7
        # Of several processes that train together, only one locks.
        with run.training(first, lock=False):
            pass
    with run.training(other):
        assert run.read_config().steps == 7
