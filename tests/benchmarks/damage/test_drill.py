"""The table of damage, on subjects whose answers are known and on the real ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invseg_jax import benchmark
from invseg_jax.benchmarks.damage import drill
from invseg_jax.benchmarks.damage.attacks import OF_ANY_FILE
from invseg_jax.benchmarks.damage.subjects import Subject, every_file
from invseg_jax.benchmarks.damage.verdict import VERDICTS
from invseg_jax.benchmarks.table import Table
from invseg_jax.errors import UserError


def blind(folder: Path, say: Any) -> dict:
    """A reader that takes what it finds."""
    return {path.name: path.read_bytes() for path in every_file(folder)}


def careless(folder: Path, say: Any) -> dict:
    if blind(folder, say) != {"a": b"abc", "b": b"defgh"}:
        raise ValueError("not what it was")
    return {}


def careful(folder: Path, say: Any) -> dict:
    if blind(folder, say) != {"a": b"abc", "b": b"defgh"}:
        raise UserError("not what it was")
    return {}


def mending(folder: Path, say: Any) -> dict:
    if blind(folder, say) != {"a": b"abc", "b": b"defgh"}:
        say("made anew")
    return {"a": 1}


def constant(folder: Path, say: Any) -> dict:
    return {"a": 1}


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (blind, "wrong"),
        (careless, "tracebacks"),
        (careful, "caught"),
        (mending, "caught"),
        (constant, "harmless"),
    ],
)
def test_readers_get_the_verdict_that_they_deserve(tmp_path: Path, read: Any, kind: str) -> None:
    part = tmp_path / "part"
    part.mkdir()
    (part / "a").write_bytes(b"abc")
    (part / "b").write_bytes(b"defgh")
    table = Table("", [])
    subject = Subject("it", "part", every_file, read, None, OF_ANY_FILE)
    drill.add_rows(table, subject, tmp_path, 5, seed=0)
    assert [row["attack"] for row in table.rows] == list(OF_ANY_FILE)
    for row in table.rows:
        assert row["tried"] == row[kind] == 5
        assert sum(row[other] for other in VERDICTS) == 5
    assert len(table.notes) == (4 * drill.EXAMPLES if kind in ("wrong", "tracebacks") else 0)
    # What is damaged are copies, which are gone.
    assert blind(part, None) == {"a": b"abc", "b": b"defgh"}
    assert list(tmp_path.iterdir()) == [part]


def test_what_is_struck_follows_the_seed_and_the_sizes(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"1")
    (tmp_path / "large").write_bytes(bytes(10_000))

    def struck(seed: int) -> list[tuple[str, str]]:
        rng = np.random.default_rng(seed)
        files = every_file(tmp_path)
        named = [drill.strike(OF_ANY_FILE["one bit flipped"], files, rng) for _ in range(40)]
        return [(path.name, how) for path, how in named]

    assert struck(1) == struck(1) != struck(2)
    large = [name for name, _ in struck(3)].count("large")
    assert 20 < large < 40


@pytest.mark.slow
def test_the_table_of_this_version(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command sets it where it is not set.
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    file = tmp_path / "rows.json"
    status = benchmark.main(["damage", "--quick", f"--json={file}"])
    assert (status, capsys.readouterr().err) == (0, "")
    (table,) = json.loads(file.read_text())["tables"]
    kinds = {row["subject"] for row in table["rows"]}
    assert kinds == {
        "checkpoint, evaluate",
        "checkpoint, resume",
        "prepared cache",
        "run files, evaluate",
        "run files, resume",
    }
    for row in table["rows"]:
        assert row["tried"] == sum(row[kind] for kind in VERDICTS) == drill.QUICK_TRIES
        assert row["wrong"] == row["tracebacks"] == 0, table["notes"]
    assert {bound["name"]: bound["value"] for bound in table["bounds"]} == {
        "wrong, of all tries": 0,
        "tracebacks, of all tries": 0,
    }
