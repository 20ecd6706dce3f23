import json

import numpy as np
import pytest

from invseg_jax import benchmark
from invseg_jax.throughput import pipeline

# ml_collections loads configurations by it.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def ended(capsys, monkeypatch):
    # The command sets it where it is not set.
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    def run(*arguments: str) -> tuple[int, str, str]:
        return benchmark.main(["pipeline", *arguments]), *capsys.readouterr()

    return run


def test_the_tables_and_their_bounds(ended, tmp_path):
    file = tmp_path / "rows.json"
    status, out, err = ended("--quick", f"--json={file}")
    assert (status, err) == (0, "")
    waiting, inside, alone = json.loads(file.read_text())["tables"]

    assert [row["threads"] for row in waiting["rows"]] == [0, 2]
    for row in waiting["rows"]:
        assert 0 < row["percent"] < 100
        assert 0 < row["wait_ms"] <= row["longest_ms"]
        assert row["seconds"] > 1e-3 * row["wait_ms"]
    (bound,) = waiting["bounds"]
    assert (bound["value"], bound["at_most"]) == (waiting["rows"][-1]["percent"], 2.0)

    rows = {row["way"]: row for row in inside["rows"]}
    assert list(rows) == ["as configured", "none", "all, always"]
    assert rows["none"]["percent"] == rows["none"]["processor_percent"] == 0
    (bound,) = inside["bounds"]
    assert (bound["value"], bound["at_most"]) == (rows["as configured"]["percent"], 10.0)

    assert [row["way"] for row in alone["rows"]] == ["as configured", "all, always"]
    for row in alone["rows"]:
        assert row["ratio"] == pytest.approx(row["scipy_ms"] / row["compiled_ms"])
    assert "4 cases of made-up hippocampi, a batch of 2" in out


def test_shares_are_medians_over_the_rounds():
    seconds = {"with": [2.0, 4.0, 10.0], "none": [1.5, 3.6, 1.0]}
    assert pipeline._share(seconds, "with") == pytest.approx(25.0)
    assert pipeline._share(seconds, "none") == 0


def test_calls_take_turns_and_the_first_round_is_not_counted():
    called = []
    calls = {name: lambda name=name: called.append(name) or np.sum(np.ones(9)) for name in "ab"}
    seconds, processor = pipeline.by_turns(calls, 3)
    assert called == list("abababab")
    assert [len(values) for values in (*seconds.values(), *processor.values())] == [3] * 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--steps=0",), "--steps 0: give at least 1"),
        (("--repeats=-1",), "--repeats -1: give at least 1"),
        (("--config=nowhere.py",), "--config cannot be loaded: "),
        (("--data=/nowhere",), "/nowhere"),
    ],
)
def test_what_a_user_can_cause_is_one_line(ended, arguments, said):
    status, _, err = ended(*arguments, "--quick")
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err


def test_a_configuration_without_data_asks_for_them(ended, repository):
    status, _, err = ended(f"--config={repository / 'configs' / 'brats.py'}", "--quick")
    assert status == 2 and "needs --data" in err
