"""The text notebooks of docs/notebooks run, in small."""

from pathlib import Path

import jax
import pytest

from tests.docs.code_blocks import cells
from tests.docs.test_code_blocks import TINY

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
# In place of the cell that is tagged `sizes`.
SIZES = {
    "ten_lines": "SIZE, CHANNELS, DEPTHS = 4, 4, (2, 4)",
    "own_network": "SIZE, CHANNELS, BLOCKS, STEPS = 8, 8, 2, 12",
    "train_and_predict": f"CHANGES = {TINY | {'data.embedded.spacing': 4.0}}\nSPACING = 4.0",
    "what_fits": "PATCHES = (4, 8)\nUNET, INVERTIBLE = (4, 8), (4, 8)",
}


def run(name: str) -> dict:
    """Executes the cells in order; the names that they leave."""
    names: dict = {"__name__": "notebook"}
    tagged = 0
    for number, (tags, code) in enumerate(cells(NOTEBOOKS / f"{name}.md")):
        if "sizes" in tags:
            code, tagged = SIZES[name], tagged + 1
        # As a reader has JAX, without the switches of tests/conftest.py.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            exec(compile(code, f"{name}.md, cell {number}", "exec"), names)
    assert tagged == 1
    return names


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in NOTEBOOKS.glob("*.md")} == set(SIZES)


def test_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    names = run("ten_lines")
    assert names["error"] < 1e-4
    assert "values that differ: 0\n" in capsys.readouterr().out


def test_own_network() -> None:
    values = run("own_network")["values"]
    assert values[-1] < values[0]


def test_what_fits() -> None:
    names = run("what_fits")
    assert names["largest_patch"](100, 32, 800) == 64  # eight times the memory, twice the edge
    assert all(small < large for small, large in names["measured"].values())


def test_train_and_predict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")
    names = run("train_and_predict")
    assert names["labels"].shape == names["scan"].shape[:3]
    assert set(names["labels"].flat) <= {0, 10, 150, 250}
