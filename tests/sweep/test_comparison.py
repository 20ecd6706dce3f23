"""What is trained, left and named; the trainings themselves leave folders made by hand here."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from invseg_jax.errors import UserError
from invseg_jax.sweep.comparison import Comparison
from invseg_jax.sweep.equal_time import EqualTime
from invseg_jax.sweep.grid import Sweep

MEMORY = {"parameters": 10, "bytes": 2**20}


class Commands:
    """Stands in for the processes; keeps what was run, as "train NAME" and "evaluate NAME"."""

    def __init__(self, grid: Sweep, finish: Callable[..., None]):
        self.runs = {run.name: run for run in grid.runs()}
        self.done: list[str] = []
        self.measured: list[str] = []
        self.splits: set[str] = set()
        self.fails: set[str] = set()
        self.roots: dict[Path, str] = {}
        self._finish = finish

    def __call__(self, module: str, arguments: list[str], stop: object) -> int:
        options = dict(argument.lstrip("-").split("=", 1) for argument in arguments)
        folder = Path(options["workdir"])
        line = f"{module.rpartition('.')[2]} {folder.name}"
        self.done.append(line)
        if line in self.fails:
            return 2
        run = self.runs.get(folder.name)
        if run is None:  # a probe
            run = next(r for r in self.runs.values() if r.row.name == folder.name)
        steps = int(options.get("config.steps", 0)) or self._steps(folder)
        root = options.get("data") or self.roots[folder]
        self.roots[folder] = root
        scores = {"dice": {"a": 0.1 * run.seed + 0.5, "mean": 0.1 * run.seed + 0.5}}
        if "split" in options:
            self.splits.add(options["split"])
        scored = scores if module.endswith("evaluate") else None
        self._finish(folder, run, scored, steps=steps, root=root)
        return 0

    def measure(self, folder: Path) -> dict[str, int]:
        self.measured.append(folder.name)
        return MEMORY

    @staticmethod
    def _steps(folder: Path) -> int:
        return json.loads((folder / "config.json").read_text())["steps"]


@pytest.fixture
def grid(make_grid: Callable[..., Sweep]) -> Sweep:
    return make_grid(seeds=(0, 1))


@pytest.fixture
def commands(grid: Sweep, finish: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands(grid, finish)
    for where in (Comparison, EqualTime):
        monkeypatch.setattr(sys.modules[where.__module__], "run_command", made)
    monkeypatch.setattr(sys.modules[Comparison.__module__], "measure_run", made.measure)
    return made


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., Comparison]:
    """A comparison in the test's folder, on the test's folder as its data."""

    def make(grid: Sweep, minutes: float | None = None, say=lambda text: None) -> Comparison:
        return Comparison(grid, tmp_path / "out", root=str(tmp_path), minutes=minutes, say=say)

    return make


def runs_table(folder: Path) -> list[dict[str, str]]:
    with (folder / "runs.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_run_is_trained_and_scored_once(
    grid: Sweep, commands: Commands, compare: Callable[..., Comparison], tmp_path: Path
):
    outcome = compare(grid).run()
    assert commands.done == [
        f"{what} {run.name}" for run in grid.runs() for what in ("train", "evaluate")
    ]
    assert len(commands.measured) == len(grid.rows)
    assert commands.splits == {"val"}
    assert outcome.failed == {}
    for row in outcome.rows:
        assert row.spread("dice").mean == pytest.approx(0.55)
        assert row.memory is not None and row.memory["bytes"] == 2**20
    assert len(runs_table(tmp_path / "out")) == 4
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "runs",
        "table.md",
        "table.csv",
        "runs.csv",
        "table.png",
        "memory.json",
        ".lock",
    }

    commands.done.clear()
    again = compare(grid).run()
    assert commands.done == [] and len(commands.measured) == len(grid.rows)
    assert [len(row.results) for row in again.rows] == [2, 2]


def test_a_damaged_last_checkpoint_is_made_again_and_scored(
    grid: Sweep, commands: Commands, compare: Callable[..., Comparison], tmp_path: Path
):
    def older_at_first(module: str, arguments: list[str], stop: object) -> int:
        status = commands(module, arguments, stop)
        if commands.done == [f"train {name}", f"evaluate {name}"]:
            file = tmp_path / "out" / "runs" / name / "compare" / "summary.json"
            summary = json.loads(file.read_text()) | {"scored": {"step": 20}}
            file.write_text(json.dumps(summary))
        return status

    name = next(grid.runs()).name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[Comparison.__module__], "run_command", older_at_first)
        outcome = compare(grid).run()
    assert commands.done[:4] == [f"train {name}", f"evaluate {name}"] * 2
    assert commands.done[4].startswith("train ") and not outcome.failed


def test_where_nothing_is_held_out_the_rest_of_the_training_cases_is_scored(
    commands: Commands, compare: Callable[..., Comparison], make_grid: Callable[..., Sweep]
):
    changes = ["data.folds=1", "data.annotated_slices=[1, 1, 1]"]
    with pytest.raises(UserError, match="nothing is left to be scored"):
        make_grid("configs/full.py", changes=changes[:1])
    grid = make_grid("configs/full.py", changes=changes)
    commands.runs = {run.name: run for run in grid.runs()}
    compare(grid).run()
    assert commands.splits == {"train"}


def test_what_was_stopped_goes_on(
    grid: Sweep, commands: Commands, compare: Callable[..., Comparison], tmp_path: Path
):
    compare(grid).run()
    commands.done.clear()
    first, second, third, _ = [tmp_path / "out" / "runs" / run.name for run in grid.runs()]
    (first / "checkpoints" / "40").rename(first / "checkpoints" / "20")  # stopped on its way
    (second / "compare" / "summary.json").unlink()  # stopped before it was scored
    shutil.rmtree(third)
    compare(grid).run()
    assert commands.done == [
        f"train {first.name}",
        f"evaluate {first.name}",
        f"evaluate {second.name}",
        f"train {third.name}",
        f"evaluate {third.name}",
    ]


def test_a_failure_is_named_and_the_others_are_done(
    grid: Sweep, commands: Commands, compare: Callable[..., Comparison], tmp_path: Path
):
    bad, worse = [run.name for run in grid.runs()][1:3]
    commands.fails = {f"train {bad}", f"evaluate {worse}"}
    said: list[str] = []
    outcome = compare(grid, say=said.append).run()
    assert outcome.failed == {
        bad: "train ended with status 2",
        worse: "evaluate ended with status 2",
    }
    assert f"failed: {bad}: train ended with status 2" in said
    assert [len(row.results) for row in outcome.rows] == [1, 1]
    text = (tmp_path / "out" / "table.md").read_text()
    assert f"- {bad}: train ended" in text and "1 of 2" in text
    commands.fails.clear()
    assert compare(grid).run().failed == {}


def test_a_row_whose_memory_cannot_be_told_keeps_its_scores(
    grid: Sweep,
    commands: Commands,
    compare: Callable[..., Comparison],
    monkeypatch: pytest.MonkeyPatch,
):
    def refused(folder: Path) -> dict[str, int]:
        raise UserError("no compiler")

    monkeypatch.setattr(sys.modules[Comparison.__module__], "measure_run", refused)
    outcome = compare(grid).run()
    assert [(row.memory, len(row.results)) for row in outcome.rows] == [(None, 2)] * 2


def test_equal_times_are_probed_once_a_row(
    grid: Sweep, commands: Commands, compare: Callable[..., Comparison]
):
    # 4 steps a second for half a minute
    outcome = compare(grid, minutes=0.5).run()
    assert [row.steps for row in outcome.rows] == [120, 120]
    assert commands.done.count("train full") == commands.done.count("train unet_cpu") == 1
    commands.done.clear()
    compare(grid, minutes=0.5).run()
    assert commands.done == []
    with pytest.raises(UserError, match=r"for 0\.5 minutes, now 1;"):
        compare(grid, minutes=1.0)
    with pytest.raises(UserError, match="now 40"):  # each its own number of steps
        compare(grid)


def test_runs_of_other_settings_are_refused_before_anything_is_trained(
    grid: Sweep,
    make_grid: Callable[..., Sweep],
    commands: Commands,
    compare: Callable[..., Comparison],
):
    compare(grid).run()
    commands.done.clear()
    with pytest.raises(UserError, match=r"full_fold0_seed0 .* config\.optimiser\.clip 1\.0, now 2"):
        compare(make_grid(changes=["optimiser.clip=2.0"]))
    more = compare(make_grid(seeds=(0, 1, 2))).outcome()
    assert [(len(row.results), row.wanted) for row in more.rows] == [(2, 3)] * 2


def test_no_data_is_told_at_once(grid: Sweep, tmp_path: Path):
    with pytest.raises(UserError, match="full needs --data"):
        Comparison(grid, tmp_path, root=None, minutes=None, say=print)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        Comparison(grid, tmp_path, root=str(tmp_path / "nowhere"), minutes=None, say=print)


def test_a_folder_that_cannot_be_written_is_told_at_once(
    grid: Sweep, commands: Commands, compare: Callable[..., Comparison], tmp_path: Path
):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="it is not a folder"):
        compare(grid).run()
    assert commands.done == []


def test_runs_with_steps_of_their_own_are_not_trained_on_for_minutes(
    grid: Sweep, commands: Commands, compare: Callable[..., Comparison], tmp_path: Path
):
    compare(grid).run()
    files = [tmp_path / "out" / "runs" / run.name / "config.json" for run in grid.runs()]
    before = [file.read_bytes() for file in files]
    outcome = compare(grid, minutes=12).run()
    assert set(outcome.failed) == {run.name for run in grid.runs()}
    assert all("config.steps 40, now 2880" in reason for reason in outcome.failed.values())
    assert [file.read_bytes() for file in files] == before
