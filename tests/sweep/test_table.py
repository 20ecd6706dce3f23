"""The table and the picture, from scores whose statistics numpy knows."""

import csv
import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from invseg_jax.sweep import table
from invseg_jax.sweep.grid import Sweep
from invseg_jax.sweep.plot import draw
from invseg_jax.sweep.run_state import Result
from invseg_jax.sweep.summary import Outcome, Spread, Summary

CLASSES = ("_a|b", "$x")
MEMORY = {"parameters": 1_502_345, "bytes": 131 * 2**20}


def outcome(grid: Sweep, finished: int = 99, iou: bool = True, failed=()) -> Outcome:
    """Random scores for the first so many runs of each row; the second class is in no case."""
    rng = np.random.default_rng(0)
    rows = []
    for row in grid.rows:
        own = [run for run in grid.runs() if run.row is row]
        results = []
        for run in own[:finished]:
            values = rng.uniform(0.6, 0.9, 3).tolist()
            dice: dict[str, float] = dict(zip((*CLASSES, "mean"), values, strict=True))
            dice["$x"] = math.nan
            scores: dict[str, dict[str, float]] = {"dice": dice}
            if iou:
                scores["iou"] = {"mean": dice["mean"] / 2}
            results.append(Result(run, 40, scores, float(rng.uniform(0.2, 0.4))))
        rows.append(Summary(row, len(own), results, MEMORY if results else None))
    return Outcome(rows, grid.vary, dict(failed))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_names_of_folders_make_no_cells_and_no_lines(make_grid: Callable[..., Sweep]):
    odd = "a|b\x1b[2J\n\udcff"
    shown = outcome(make_grid(f"configs/{odd}.py"), failed={odd: f"no file {odd}"})
    text = table.markdown(shown)
    assert all(c == "\n" or c.isprintable() for c in text)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert r"- a\|b\x1b[2J \udcff: no file a\|b\x1b[2J \udcff" in text
    for content in (table.table_csv(shown), table.runs_csv(shown)):
        assert all(c == "\n" or c.isprintable() for c in content)
        assert len(read(content)) == len(content.splitlines()) - 1
    console = Console(file=io.StringIO(), width=200)
    console.print(*table.terminal(shown))
    assert all(c == "\n" or c.isprintable() for c in console.file.getvalue())  # pyright: ignore


def test_the_csv_holds_mean_and_sample_deviation(make_grid: Callable[..., Sweep]):
    shown = outcome(make_grid(seeds=(0, 1, 2)))
    for line, row in zip(read(table.table_csv(shown)), shown.rows, strict=True):
        for name in ("_a|b", "mean"):
            values = [r.scores["dice"][name] for r in row.results]
            assert float(line[f"dice_{name}_mean"]) == pytest.approx(np.mean(values))
            assert float(line[f"dice_{name}_sd"]) == pytest.approx(np.std(values, ddof=1))
        assert line["dice_$x_mean"] == line["dice_$x_sd"] == ""
        seconds = np.median([r.step_seconds for r in row.results])
        assert float(line["step_seconds"]) == pytest.approx(seconds)
        assert float(line["minutes"]) == pytest.approx(40 * seconds / 60)
        assert int(line["parameters"]) == 1_502_345 and int(line["compiled_bytes"]) == 131 << 20
        assert (line["runs"], line["wanted"], line["steps"]) == ("3", "3", "40")
    assert read(table.table_csv(shown))[1]["network"] == "UNet3D"


def test_the_csv_of_runs_has_every_score(make_grid: Callable[..., Sweep]):
    shown = outcome(make_grid(vary="data.foreground=0|0.5", folds=(0, 4)))
    lines = read(table.runs_csv(shown))
    results = {r.run.name: r for row in shown.rows for r in row.results}
    assert sorted(line["run"] for line in lines) == sorted(results) and len(lines) == 8
    for line in lines:
        result = results[line["run"]]
        assert float(line["dice__a|b"]) == result.scores["dice"]["_a|b"]
        assert float(line["iou_mean"]) == result.scores["iou"]["mean"]
        assert line["fold"] == str(result.run.fold)
        assert line["config.data.foreground"] == result.run.row.value


def test_markdown_shows_what_there_is(make_grid: Callable[..., Sweep]):
    shown = outcome(make_grid(seeds=(0, 1)), failed=[("unet_cpu_fold0_seed1", "no | space")])
    text = table.markdown(shown)
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 4
    mean, sd = shown.rows[0].spread("dice").mean, shown.rows[0].spread("dice").sd
    assert f"| {mean:.3f} ± {sd:.3f} |" in lines[2]
    assert "| 1,502,345 | 131 |" in lines[2]
    assert "IoU mean" in lines[0] and "regions" not in lines[0]
    assert "- unet_cpu_fold0_seed1: no \\| space" in text


def test_a_single_run_has_no_deviation_and_none_no_score(make_grid: Callable[..., Sweep]):
    single = table.markdown(outcome(make_grid(seeds=(0, 1)), finished=1, iou=False))
    cells = single.splitlines()[2]
    assert "±" not in cells and "| 1 of 2 | 40 |" in cells and "IoU" not in single
    nothing = table.markdown(outcome(make_grid(), finished=0))
    assert "| full | FullInvRes | 0 of 1 |" in nothing


def test_the_terminal_shows_names_as_they_are(make_grid: Callable[..., Sweep]):
    console = Console(width=120, record=True, file=io.StringIO())
    shown = outcome(make_grid("sarcoma.py:[red]", vary="steps=1|2", seeds=(0, 1)))
    console.print(*table.terminal(shown), sep="\n")
    text = console.export_text()
    for cell in ("sarcoma:[red]", "_a|b", "config.steps", "1,502,345", "FullInvRes"):
        assert cell in text
    spread = shown.rows[1].spread("iou")
    assert f"{spread.mean:.3f} ± {spread.sd:.3f}" in text


@pytest.mark.parametrize("values", [[0.5], [0.5, math.nan], [], [math.nan], [0.1, 0.4, 0.9]])
def test_spread_leaves_out_what_is_no_number(values: list[float]):
    spread, finite = Spread.of(values), [v for v in values if not math.isnan(v)]
    mean = float(np.mean(finite)) if finite else math.nan
    sd = float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
    np.testing.assert_allclose([spread.mean, spread.sd], [mean, sd])


def test_pictures_of_all_kinds_are_drawn(make_grid: Callable[..., Sweep], tmp_path):
    varied = make_grid(vary="data.patch=[8,8,8]|[16,16,16]|[9,9,9]")
    shown = {
        "plain": outcome(make_grid(seeds=(0, 1))),
        "varied": outcome(varied, iou=False),
        "both": outcome(varied),
        "midway": outcome(make_grid(seeds=(0, 1)), finished=1),
        "nothing": outcome(make_grid(), finished=0),
        "many": outcome(make_grid(*(f"a{i}.py" for i in range(12)))),
    }
    for name, what in shown.items():
        draw(tmp_path / f"{name}.png", what)
        picture = imread(tmp_path / f"{name}.png")[..., :3]
        assert picture.min() < 0.5 < picture.max(), name
    coloured = {
        name: (np.ptp(imread(tmp_path / f"{name}.png")[..., :3], axis=-1) > 0.2).any()
        for name in shown
    }
    assert coloured == {name: name != "nothing" for name in shown}
