"""The command line, run in this process, and what it wrote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invseg_jax import benchmark


@pytest.fixture
def measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[list[dict[str, Any]], str]]:
    """Runs a benchmark with --quick; gives its tables as JSON, and what it printed."""
    # The command sets it where it is not set.
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    def run(*arguments: str) -> tuple[list[dict[str, Any]], str]:
        file = tmp_path / "results" / "rows.json"
        status = benchmark.main([*arguments, "--quick", f"--json={file}"])
        out, err = capsys.readouterr()
        assert (status, err) == (0, "")
        written = json.loads(file.read_text(encoding="utf-8"))
        assert written["benchmark"] == arguments[0]
        assert written["environment"]["platform"] == "cpu"
        assert {"jax", "device", "cores"} <= written["environment"].keys()
        return written["tables"], out

    return run


@pytest.fixture(scope="session")
def bounds() -> Callable[[dict[str, Any]], dict[str, float]]:
    """The figures of a table that are held against bounds, by name."""
    return lambda table: {bound["name"]: bound["value"] for bound in table["bounds"]}
