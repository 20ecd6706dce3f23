"""Names that hold what no terminal should be given: printed as escapes, and nothing stops."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from invseg_jax.data.checks.case import Fault
from invseg_jax.data.checks.report import table
from invseg_jax.evaluation.pictures import overlay
from invseg_jax.evaluation.report import CaseResult, tables, write_report
from invseg_jax.files.printable import escape_unencodable, printable
from invseg_jax.runs.figure import FigureCanvasAgg
from invseg_jax.runs.run_folder import RunFolder
from invseg_jax.training.log import TrainingLog
from invseg_jax.training.task import Validation
from tests.tiny_run import TINY, ball, load

ODD = "\x1b[31mred\r\u202eright\n\x9btwo\udcff"
ESCAPED = r"\x1b[31mred\r\u202eright\n\x9btwo\udcff"


@pytest.mark.parametrize(
    "text, shown",
    [
        (ODD, ESCAPED),
        ("Größe 腦 مخ, a b", "Größe 腦 مخ, a b"),
        ("tab\tnull\0delete\x7f", r"tab\tnull\x00delete\x7f"),
        ("line\u2028paragraph\u2029next\x85", r"line\u2028paragraph\u2029next\x85"),
        ("\U000e0041tag \ud83d", r"\U000e0041tag \ud83d"),
        (Path("a\nb"), r"a\nb"),
        ("", ""),
    ],
)
def test_what_cannot_be_shown_is_escaped(text: object, shown: str):
    assert printable(text) == shown
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_stream_prints_every_text(encoding: str):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding)
    escape_unencodable(stream)
    print("Größe 腦 \udcff", file=stream, flush=True)
    shown = buffer.getvalue().decode(encoding)
    assert (
        shown.rstrip("\n")
        == {
            "ascii": r"Gr\xf6\xdfe \u8166 \udcff",
            "latin-1": r"Größe \u8166 \udcff",
            "utf-8": r"Größe 腦 \udcff",
        }[encoding]
    )


def test_what_is_no_stream_of_text_stays_as_it_is():
    escape_unencodable(io.StringIO())


def test_a_picture_names_any_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = []

    def print_png(self: FigureCanvasAgg, *arguments, **options) -> None:
        drawn.extend(text.get_text() for text in self.figure.legends[0].get_texts())
        drawn.append(self.figure.texts[-1].get_text())
        original(self, *arguments, **options)

    original = FigureCanvasAgg.print_png
    monkeypatch.setattr(FigureCanvasAgg, "print_png", print_png)
    label = np.zeros((4, 5, 6), np.uint8)
    label[1:3, 1:3, 1:3] = 1
    overlay(
        tmp_path / "a.png",
        image=label.astype(np.float32),
        prediction=label,
        truth=None,
        classes=("background", ODD),
        title=ODD,
    )
    assert drawn == [ESCAPED, ESCAPED]


def shown(*tables: Table) -> str:
    buffer = io.StringIO()
    Console(file=buffer, width=200).print(*tables)
    return buffer.getvalue()


def controls(text: str) -> list[str]:
    """The characters of a text, besides line ends, that a terminal would not show."""
    return [c for c in text if c != "\n" and not c.isprintable()]


def test_tables_show_names_in_one_line(tmp_path: Path):
    faults = shown(table([Fault(ODD, "file", f"{ODD}: truncated")]))
    assert f"{ESCAPED}: truncated" in faults and ESCAPED[:20] in faults.partition("file")[0]
    result = CaseResult(ODD, np.array([0.5]), np.array([[3, 4]]))
    scores = shown(*tables([result], ["background", ODD]))
    assert scores.count(ESCAPED) == 2
    write_report(
        tmp_path,
        results=[result],
        classes=["background", ODD],
        config={"data": {"root": ODD}},
        pictures={},
    )
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["cases"][0]["id"] == ODD  # as it is
    assert summary["mean"]["dice"] == {ODD: 0.5, "mean": 0.5}
    rows = (tmp_path / "cases.csv").read_text(encoding="utf-8")
    assert len(rows.splitlines()) == 2 and rows.splitlines()[1].startswith(f"{ESCAPED},0.5")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count(f"<div>{ESCAPED}</div>") == 1
    for text in (faults, scores, rows, page):
        assert controls(text) == []


def test_a_log_shows_names_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    with TrainingLog(RunFolder(tmp_path), first=0, steps=2, shown={"dice": "Dice"}) as log:
        log.training(1, {"loss": 1.0, "dice": 0.5})
        log.validation(1, Validation(f"held-out Dice: {ODD} 0.750", {f"dice/{ODD}": 0.75}))
        log.draw(tmp_path / "progress.png")
    said = capsys.readouterr().out
    assert f"held-out Dice: {ESCAPED} 0.750" in said and controls(said) == []
    row = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])
    assert row == {"step": 1, f"val/dice/{ODD}": 0.75}
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"val/dice/_x1b_31mred_r_u202eright_n_x9btwo_udcff" in file.read_bytes()


CLASSES = ["background", "\x1b]0;ball\x07|", "shell\r\n\u202e\udcff<b>"]
MODALITY = "MR\udc80\x1b[2J"
NAMES = [
    "esc\x1b[2J",
    "return\rx",
    "turned\u202exyz",
    os.fsdecode(b"byte\xffx"),
    "line\nend",
    "plain name",
]


def write_odd(root: Path) -> None:
    """The balls, under names that hold everything."""
    affine = np.diag((1.5, 1.0, 2.0, 1.0))
    entries = []
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        for folder, array in zip(("imagesTr", "labelsTr"), ball(number), strict=True):
            nibabel.save(nibabel.Nifti1Image(array, affine), root / "sound.nii.gz")
            (root / "sound.nii.gz").rename(root / folder / f"{name}.nii.gz")
        file = f"{name}.nii.gz"
        entries.append({"image": f"./imagesTr/{file}", "label": f"./labelsTr/{file}"})
    description = {
        "name": "odd\x1b[2J\udcff",
        "modality": {"0": MODALITY},
        "labels": {str(value): name for value, name in enumerate(CLASSES)},
        "training": entries,
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(description))


def run(*arguments: str, encoding: str = "utf-8", status: int = 0) -> str:
    """Runs a command; what it printed, of which no byte controls a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "250"},
        timeout=600,
    )
    printed = done.stdout + done.stderr
    text = printed.decode(encoding)
    assert done.returncode == status, text
    assert controls(text) == []
    return text


@pytest.mark.slow
def test_odd_names_stop_no_command(tmp_path: Path, repository: Path):
    root, workdir = tmp_path / "odd\x1b[1m", tmp_path / "run\r"
    write_odd(root)
    said = run("invseg_jax.check_data", "--layout", "msd", "--data", str(root), encoding="ascii")
    assert "6 cases, 6 with a label map: no fault" in said
    (root / "imagesTr" / f"{NAMES[0]}.nii.gz").rename(tmp_path / "kept")
    said = run("invseg_jax.check_data", "--layout", "msd", "--data", str(root), status=1)
    assert r"esc\x1b[2J" in said and "no such file" in said
    (tmp_path / "kept").rename(root / "imagesTr" / f"{NAMES[0]}.nii.gz")

    config = tmp_path / "config.py"
    config.write_text(
        "from invseg_jax.experiment import base_experiment\n\n"
        "def get_config():\n"
        f"    return base_experiment('FullInvRes').changed({TINY!r})\n"
    )
    said = run(
        "invseg_jax.train",
        f"--config={config}",
        f"--data={root}",
        f"--workdir={workdir}",
        encoding="latin-1",
    )
    assert r"held-out Dice: \x1b]0;ball\x07| " in said
    assert (workdir / "progress.png").stat().st_size > 5000
    row = json.loads((workdir / "history.jsonl").read_text().splitlines()[-1])
    assert f"val/dice/{CLASSES[2]}" in row

    results = tmp_path / "results"
    said = run("invseg_jax.evaluate", "--workdir", str(workdir), "--output", str(results))
    summary = json.loads((results / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["mean"]["dice"]) == {*CLASSES[1:], "mean"}
    assert {case["id"] for case in summary["cases"]} <= set(NAMES)
    for file in ("cases.csv", "report.html"):
        text = (results / file).read_text(encoding="utf-8")
        assert controls(text) == []
    assert len((results / "cases.csv").read_text().splitlines()) == 1 + len(summary["cases"])
    assert r"shell\r\n\u202e\udcff&lt;b&gt;" in (results / "report.html").read_text()

    maps = tmp_path / "maps"
    damaged = tmp_path / "images"
    damaged.mkdir()
    for name in NAMES:
        content = (root / "imagesTr" / f"{name}.nii.gz").read_bytes()
        (damaged / f"{name}.nii.gz").write_bytes(content)
    (damaged / "broken\x1b[2J.nii.gz").write_bytes(b"nothing")
    said = run(
        "invseg_jax.predict",
        f"--workdir={workdir}",
        f"--input={damaged}",
        f"--output={maps}",
        status=1,
    )
    assert r"1 of 7 cases could not be segmented, the first: case broken\x1b[2J" in said
    assert {path.name for path in maps.glob("*.nii.gz")} == {f"{name}.nii.gz" for name in NAMES}
    for name in NAMES:
        assert load(maps / f"{name}.nii.gz").shape == (11, 13, 9)
