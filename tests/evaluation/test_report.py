"""The report: what its files hold, strictly read back, and the table for the terminal."""

import csv
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from rich.console import Console

from invseg_jax.data.batches.regions import Regions
from invseg_jax.errors import UserError
from invseg_jax.evaluation.metrics import dice
from invseg_jax.evaluation.report import CaseResult, strict_json, tables, write_report

CLASSES = ("background", "CSF", "GM")


def results():
    return [
        CaseResult("a", np.array([0.9, 0.7]), np.array([[10, 12], [5, 6]])),
        CaseResult("b", np.array([0.8, np.nan]), np.array([[9, 9], [0, 0]])),
    ]


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def read_json(path: Path):
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_summary_holds_the_means_and_the_cases(tmp_path):
    config = {"patch": (8, 8, 8), "rate": float("nan"), "model": {"depth": np.int64(3)}}
    folder = tmp_path / "new" / "eval"
    summary = write_report(folder, results=results(), classes=CLASSES, config=config, pictures={})
    assert read_json(folder / "summary.json") == summary
    assert set(summary) == {"mean", "cases", "scored", "config", "versions"}
    assert summary["mean"]["dice"] == pytest.approx({"CSF": 0.85, "GM": 0.7, "mean": 0.775})
    iou = {"CSF": (9 / 11 + 8 / 12) / 2, "GM": 7 / 13}
    assert summary["mean"]["iou"] == pytest.approx(iou | {"mean": np.mean([*iou.values()])})
    first, second = summary["cases"]
    assert first["id"] == "a"
    assert first["dice"] == pytest.approx({"CSF": 0.9, "GM": 0.7, "mean": 0.8})
    assert first["voxels"] == {
        "CSF": {"truth": 10, "prediction": 12},
        "GM": {"truth": 5, "prediction": 6},
    }
    assert second["dice"] == {"CSF": 0.8, "GM": None, "mean": 0.8}
    assert summary["config"] == {"patch": [8, 8, 8], "rate": None, "model": {"depth": 3}}
    assert summary["versions"]["numpy"] == np.__version__
    assert set(summary["versions"]) == {"python", "jax", "flax", "numpy", "invseg_jax"}
    assert sorted(p.name for p in folder.iterdir()) == ["cases.csv", "report.html", "summary.json"]


def test_csv_has_a_row_a_case(tmp_path):
    write_report(tmp_path, results=results(), classes=CLASSES, config={}, pictures={})
    with open(tmp_path / "cases.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["case"] for r in rows] == ["a", "b"]
    assert float(rows[0]["dice_CSF"]) == 0.9
    assert rows[1]["dice_GM"] == ""
    assert float(rows[1]["dice_mean"]) == 0.8
    assert (rows[0]["truth_voxels_CSF"], rows[0]["prediction_voxels_CSF"]) == ("10", "12")


def test_name_that_is_not_utf8(tmp_path):
    name = os.fsdecode(b"case-\xff")
    result = CaseResult(name, np.array([0.5]), np.array([[1, 1]]))
    write_report(tmp_path, results=[result], classes=("background", "a"), config={}, pictures={})
    assert read_json(tmp_path / "summary.json")["cases"][0]["id"] == name
    assert "case-\\udcff" in (tmp_path / "cases.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("cases", [0, 1])
def test_nothing_to_average_gives_null_and_no_warning(tmp_path, cases):
    nothing = CaseResult("a", np.array([np.nan, np.nan]), np.zeros((2, 2), np.int64))
    summary = write_report(
        tmp_path, results=[nothing] * cases, classes=CLASSES, config={}, pictures={}
    )
    assert summary["mean"]["dice"] == {"CSF": None, "GM": None, "mean": None}
    assert "nan" not in (tmp_path / "report.html").read_text(encoding="utf-8").lower()
    assert read_json(tmp_path / "summary.json") == summary


def test_compare_counts_and_scores():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 3, size=(2, 5, 6, 7)).astype(np.uint8)
    result = CaseResult.compare("a", prediction, truth, 3)
    np.testing.assert_array_equal(result.dice, dice(prediction, truth, 3))
    expected = [[np.sum(truth == c), np.sum(prediction == c)] for c in (1, 2)]
    np.testing.assert_array_equal(result.voxels, expected)


def test_terminal_table_has_cases_and_mean_and_no_markup():
    odd = CaseResult("[red]c[/red]", np.array([0.1, np.nan]), np.zeros((2, 2), np.int64))
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        console.print(*tables([*results(), odd], CLASSES))
    lines = console.export_text().splitlines()
    cells = [[c.strip() for c in re.split("[┃│]", line)[1:-1]] for line in lines]
    rows = [c for c in cells if len(c) == 5]
    a, b, c, gm = 0.9 / 1.1, 0.8 / 1.2, 0.1 / 1.9, 0.7 / 1.3
    assert rows == [
        ["case", "CSF", "GM", "mean", "IoU"],
        ["a", "0.9000", "0.7000", "0.8000", f"{(a + gm) / 2:.4f}"],
        ["b", "0.8000", "n/a", "0.8000", f"{b:.4f}"],
        ["[red]c[/red]", "0.1000", "n/a", "0.1000", f"{c:.4f}"],
        ["mean", "0.6000", "0.7000", "0.6500", f"{((a + b + c) / 3 + gm) / 2:.4f}"],
    ]


@pytest.mark.parametrize("names", [("mean",), ("a", "a")])
@pytest.mark.parametrize("kind", ["classes", "regions"])
def test_names_that_collide_are_refused(tmp_path, names, kind):
    named = {"classes": ("background",), "regions": (), kind: ("background", *names)}
    with pytest.raises(UserError, match=f"the {kind} .*name of its own"):
        write_report(tmp_path, results=[], config={}, pictures={}, **named)
    assert list(tmp_path.iterdir()) == []


def regional_results():
    """Of the classes 1 and 2, their union and the second alone, which case b lacks."""
    regions = Regions(("whole", "GM"), ((1, 2), (2,)), (1, 2))
    truth = np.array([1, 1, 2, 2, 0, 0]), np.array([1, 1, 1, 0, 0, 0])
    prediction = np.array([1, 2, 2, 2, 1, 0]), np.array([1, 1, 0, 0, 0, 0])
    return [
        CaseResult.compare(id, p, t, 3, regions)
        for id, p, t in zip("ab", prediction, truth, strict=True)
    ]


def test_regions_have_scores_and_a_mean_of_their_own(tmp_path):
    scored, names = regional_results(), ("whole", "GM")
    summary = write_report(
        tmp_path, results=scored, classes=CLASSES, config={}, pictures={}, regions=names
    )
    assert read_json(tmp_path / "summary.json") == summary
    a, b = summary["cases"]
    # 2 |P and T| / (|P| + |T|): 2 x 4 / (5 + 4) and 2 x 2 / (3 + 2); b: 2 x 2 / (2 + 3).
    assert a["region_dice"] == pytest.approx({"whole": 8 / 9, "GM": 0.8, "mean": (8 / 9 + 0.8) / 2})
    assert b["region_dice"] == {"whole": 0.8, "GM": None, "mean": 0.8}
    whole = (8 / 9 + 0.8) / 2
    expected = {"whole": whole, "GM": 0.8, "mean": (whole + 0.8) / 2}
    assert summary["mean"]["region_dice"] == pytest.approx(expected)
    # Of the classes all is as without regions.
    scores = [replace(r, region_dice=np.zeros(0)) for r in scored]
    plain = write_report(tmp_path / "a", results=scores, classes=CLASSES, config={}, pictures={})
    assert plain["mean"] == {key: summary["mean"][key] for key in ("dice", "iou")}
    with open(tmp_path / "cases.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["region_dice_whole"]) == 8 / 9
    assert rows[1]["region_dice_GM"] == ""
    assert float(rows[1]["region_dice_mean"]) == 0.8
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<table>") == 2 and "Dice of the regions" in page and "0.8889" in page
    titles = [str(grid.title) for grid in tables(scored, CLASSES, names)]
    assert titles == ["Dice", "Dice of the regions"]
    with pytest.raises(ValueError, match="for 2 foreground classes and 1 regions"):
        tables(scored, CLASSES, ("whole",))


def test_result_of_other_classes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="case a"):
        write_report(tmp_path, results=results(), classes=(*CLASSES, "WM"), config={}, pictures={})


def test_lost_picture_leaves_the_numbers(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png"):
        write_report(
            tmp_path,
            results=results(),
            classes=CLASSES,
            config={},
            pictures={"x": tmp_path / "gone.png"},
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cases.csv", "summary.json"]


def test_folder_that_is_a_file_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match="file"):
        write_report(tmp_path / "file", results=[], classes=CLASSES, config={}, pictures={})
    assert (tmp_path / "file").read_text() == "kept"


def test_strict_json_takes_what_settings_hold(tmp_path):
    value = {
        "a": (np.float32(0.5), float("inf"), np.array([1.0, np.nan])),
        "path": tmp_path,
        "config": MappingProxyType({"inner": {"b": 2.5, 3: True}}),
        "flag": np.bool_(True),
        "none": None,
    }
    expected = {
        "a": [0.5, None, [1.0, None]],
        "path": str(tmp_path),
        "config": {"inner": {"b": 2.5, "3": True}},
        "flag": True,
        "none": None,
    }
    assert strict_json(value) == expected
    json.dumps(strict_json(value), allow_nan=False)
