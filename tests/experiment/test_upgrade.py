"""What earlier versions wrote; see tests/fixtures/make_configs.py for how the files were made."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment, InteractiveSettings, read_experiment
from invseg_jax.experiment.upgrade import FORMAT, upgraded
from invseg_jax.files.json_values import as_json_values
from invseg_jax.inference.trained_run import DataDescription, SegmentationRun
from invseg_jax.runs.run_files import experiment_of

FIXTURES = Path(__file__).parent.parent / "fixtures" / "configs"
FILES = sorted(FIXTURES.glob("*/*.json"))
DATA = DataDescription(
    layout="msd",
    root=None,
    modalities=("mr",),
    classes=("background", "tumour"),
    values=(0, 1),
    training=(("a", "0"),),
    held_out=(),
)


@pytest.fixture
def run(tmp_path: Path) -> SegmentationRun:
    (tmp_path / "run").mkdir()
    return SegmentationRun(tmp_path / "run")


def named(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def flat(values: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {key: values}
    inner = (flat(v, f"{key}.{name}" if key else name) for name, v in values.items())
    return {name: value for part in inner for name, value in part.items()}


def test_there_are_files_of_every_format():
    forms = {json.loads(file.read_text()).get("format") for file in FILES}
    assert forms == {None, 2} and len(FILES) > 6
    assert FORMAT not in forms


@pytest.mark.parametrize("file", FILES, ids=named)
def test_each_value_is_read_as_it_was_written(run: SegmentationRun, file: Path):
    shutil.copy(file, run.path / "config.json")
    written = flat(json.loads(file.read_text()))
    read = flat(run.read_config().to_json())
    others = {name for name in read if name in written and read[name] != written[name]}
    assert others <= {"augment.spacing", "optimiser.warmup"}
    assert set(written) <= {*read, "format", "digest"}
    # Voxels counted as cubes of 1 mm unless the configuration gave their size.
    spacing = written["augment.spacing"]
    assert read["augment.spacing"] == (None if spacing == [1.0, 1.0, 1.0] else spacing)
    # A warm-up longer than half of the run was cut to that.
    half = max(written["steps"] // 2, 1)
    assert read["optimiser.warmup"] == min(written["optimiser.warmup"], half)


def of_today(file: Path) -> Experiment:
    config, _, variant = file.stem.partition("-")
    return read_experiment(f"{config}:{variant}")


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("format-2/*.json")), ids=named)
def test_a_run_of_format_2_goes_on_with_the_same_configuration(run: SegmentationRun, file: Path):
    now = of_today(file)
    (run.checkpoints / "1").mkdir(parents=True)
    shutil.copy(file, run.path / "config.json")
    # The description of the data has not changed but for the format.
    described = SegmentationRun(run.path.with_name("other"))
    described.write(now, DATA)
    shutil.copy(described.path / "data.json", run.path)
    run.write(now, DATA)
    assert run.read_config() == now
    assert json.loads((run.path / "config.json").read_text())["format"] == FORMAT


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("format-2/*.json")), ids=named)
def test_a_run_of_format_2_does_not_go_on_with_another_seed(run: SegmentationRun, file: Path):
    now = of_today(file)
    (run.checkpoints / "1").mkdir(parents=True)
    shutil.copy(file, run.path / "config.json")
    (run.path / "data.json").write_text("{}")
    before = file.read_bytes()
    with pytest.raises(UserError, match=r"another config.seed \(0, now 1\)"):
        run.write(now.changed({"seed": 1}), DATA)
    assert (run.path / "config.json").read_bytes() == before


def test_before_there_was_a_choice_it_was_made_one_way(run: SegmentationRun):
    shutil.copy(FIXTURES / "format-none-early" / "hippocampus-cpu.json", run.path / "config.json")
    read = run.read_config()
    assert not read.data.preprocess.canonical  # the axes were those of the files
    assert read.vae.latent == 0 and not read.loss.regions
    assert read.optimiser.name == "adamw"
    assert read.inference.mirror == (False, False, False)


def test_a_damaged_file_of_format_2_is_found(run: SegmentationRun):
    text = (FIXTURES / "format-2" / "iseg-quick.json").read_text()
    (run.path / "config.json").write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match="its content does not fit its digest"):
        experiment_of(run.path)


@pytest.mark.parametrize("key", ["seed", "loss.dice", "model.settings.channels", "data.patch"])
def test_what_a_file_of_format_2_lost_is_named_and_never_made_up(run: SegmentationRun, key: str):
    values = json.loads((FIXTURES / "format-2" / "iseg-quick.json").read_text())
    del values["digest"]
    *sections, name = key.split(".")
    section = values
    for part in sections:
        section = section[part]
    del section[name]
    (run.path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=f"config.{key} is missing"):
        experiment_of(run.path)


def test_the_given_values_are_left_alone_and_nonsense_stays_for_the_check():
    values = {"steps": "many", "optimiser": {"warmup": 9}, "augment": 3, "data": []}
    copy = json.loads(json.dumps(values))
    made = upgraded(values, 2)
    assert made.pop("task") == "segmentation"
    assert made.pop("interactive") == as_json_values(InteractiveSettings().values())
    assert made == copy and values == copy
    late = {"steps": 10, "optimiser": {"warmup": 9}}
    assert upgraded(late, 2)["optimiser"] == {"warmup": 5}
    assert upgraded(late, FORMAT)["optimiser"] == {"warmup": 9}
    assert upgraded({"augment": {"spacing": [1.0] * 3}}, 2)["augment"] == {"spacing": None}
    spacing = {"augment": {"spacing": [1.0, 1.0, 3.0]}}
    assert upgraded(spacing, 2)["augment"] == spacing["augment"]
