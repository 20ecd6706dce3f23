"""What is compared, under which names, and what is refused before anything is trained."""

import re
from collections.abc import Callable

import pytest

from invseg_jax.errors import UserError
from invseg_jax.sweep.grid import Sweep, Vary


def test_each_row_is_trained_on_each_fold_with_each_seed(make_grid: Callable[..., Sweep]):
    grid = make_grid(folds=(0, 3), seeds=(1, 2))
    names = [run.name for run in grid.runs()]
    assert len(names) == len(set(names)) == 8
    # Something of each row first.
    assert names[:2] == ["full_fold0_seed1", "unet_cpu_fold0_seed1"]
    assert {(run.fold, run.seed) for run in grid.runs()} == {(0, 1), (0, 2), (3, 1), (3, 2)}
    assert [row.configuration for row in grid.rows] == ["full", "unet:cpu"]


def test_a_run_has_the_configuration_that_its_arguments_say(make_grid: Callable[..., Sweep]):
    grid = make_grid(changes=["data.folds=4"], vary="data.foreground=0.1|0.5", seeds=(7,))
    run = list(grid.runs())[1]
    experiment = run.experiment(12)
    assert (experiment.data.foreground, experiment.data.folds) == (0.5, 4)
    assert (experiment.seed, experiment.data.fold, experiment.steps) == (7, 0, 12)
    assert run.arguments(12) == [
        "--config=configs/full.py",
        "--config.data.folds=4",
        "--config.data.foreground=0.5",
        "--config.data.fold=0",
        "--config.seed=7",
        "--config.steps=12",
    ]
    assert run.row.experiment.steps == 40  # a run's own values are not those of its row


def test_names_are_safe_for_folders_and_shells(make_grid: Callable[..., Sweep]):
    grid = make_grid("a b/é$(x).py:cpu/1", vary="vae.widths=[8,8,8]|[16,8,8]|[-1,8,8]")
    names = [row.name for row in grid.rows]
    assert names == ["x_cpu_1_widths_8_8_8", "x_cpu_1_widths_16_8_8", "x_cpu_1_widths_-1_8_8"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", run.name) for run in grid.runs())
    assert [row.value for row in grid.rows] == ["[8,8,8]", "[16,8,8]", "[-1,8,8]"]


@pytest.mark.parametrize(
    "files, options, said",
    [
        (("a.py", "b.py", "a.py"), {}, "a.py and a.py would both be called a"),
        (("one/a.py", "two/A.py"), {}, "one/a.py and two/A.py would both be called A"),
        (("a.py",), {"vary": "seed=1|2"}, "--vary seed: give --seeds"),
        (("a.py",), {"vary": "steps=1|1"}, "a.py with steps=1 and a.py with steps=1"),
        (("a.py",), {"changes": ["data.fold=1"]}, "--set data.fold: give --folds"),
        (("a.py",), {"changes": ["steps"]}, "--set 'steps': write it as KEY=VALUE"),
        (("a.py",), {"changes": ["steps=0"]}, "config.steps is 0"),
        (("a.py",), {"folds": (0, 5)}, "config.data.fold 5 of 5 folds"),
        (("a.py",), {"folds": (0, 0)}, "--folds 0,0"),
        (("a.py",), {"seeds": (0, -1)}, "--seeds 0,-1"),
    ],
)
def test_mistakes_are_told(make_grid: Callable[..., Sweep], files, options, said: str):
    with pytest.raises(UserError) as caught:
        make_grid(*files, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_split_file_is_checked_and_holds_cases_out(make_grid: Callable[..., Sweep], tmp_path):
    file = tmp_path / "splits.json"
    file.write_text('[{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]')
    # The number of folds counts for nothing then.
    changes = [f'data.split="{file}"', "data.folds=1"]
    grid = make_grid("a.py", changes=changes, folds=(0, 1))
    assert [run.fold for run in grid.runs()] == [0, 1]
    with pytest.raises(UserError, match="config.data.fold 2: .* has 2 entries"):
        make_grid("a.py", changes=changes, folds=(2,))
    with pytest.raises(UserError, match=r"'\(' is no regular expression"):
        make_grid("a.py", changes=['data.group="("'])


def test_a_varied_setting_is_read():
    vary = Vary.parse("data.annotated_slices=(1,1,1)|(3,3,3)")
    assert (vary.key, vary.values) == ("data.annotated_slices", ("(1,1,1)", "(3,3,3)"))
    assert vary.label == "annotated_slices"
    assert Vary.parse("a=b=c").values == ("b=c",)


@pytest.mark.parametrize("text", ["steps", "steps=", "=3", "steps=1||2", "steps=1|"])
def test_a_varied_setting_without_values_is_refused(text: str):
    with pytest.raises(UserError, match="KEY=VALUE"):
        Vary.parse(text)
