import argparse
import json

import jax
import numpy as np
import pytest
from flax import nnx

from invseg_jax import benchmark
from invseg_jax.benchmarks import pipeline
from invseg_jax.inference.network import build_model


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
        (("--steps=0",), "--steps: '0' is no whole number of at least 1"),
        (("--repeats=-1",), "--repeats: '-1' is no whole number of at least 1"),
        (("--config=nowhere.py",), "--config cannot be loaded: "),
        (("--data=/nowhere",), "/nowhere"),
    ],
)
def test_what_a_user_can_cause_is_one_line(ended, arguments, said):
    status, _, err = ended(*arguments, "--quick")
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err


def quick(config: str) -> argparse.Namespace:
    return argparse.Namespace(config=config, quick=True)


@pytest.mark.parametrize(
    "text, said",
    [
        (
            "from invseg_jax.experiment import base_experiment\n"
            "def get_config():\n"
            "    return base_experiment().changed({'stepz': 3})\n",
            'config: Did you mean "steps" instead of "stepz"?',
        ),
        ("# A page\n\nSome prose.\n", "FILE, line 3: SyntaxError: invalid syntax"),
        (
            "def get_config():\n    return bare_config()\n",
            "FILE, line 2: NameError: name 'bare_config' is not defined",
        ),
        (
            "import nothing_of_it\n",
            "FILE, line 1: ModuleNotFoundError: No module named 'nothing_of_it'",
        ),
        (
            "def get_config():\n    raise ValueError('one\\ntwo')\n",
            "FILE, line 2: ValueError: one two",
        ),
        ("def get_config():\n    raise KeyError('a')\n", "FILE, line 2: KeyError: 'a'"),
        (
            "def get_config():\n    raise NotImplementedError\n",
            "FILE, line 2: NotImplementedError",
        ),
    ],
)
def test_a_faulty_configuration_is_one_line(ended, tmp_path, text: str, said: str):
    file = tmp_path / "mine.py"
    file.write_text(text)
    status, _, err = ended(f"--config={file}", "--quick")
    refused = said if said.startswith("config: ") else f"--config cannot be loaded: {said}"
    assert (status, err.replace(str(file), "FILE")) == (2, f"error: {refused}\n")


def test_the_configuration_s_own_refusal_stays_as_it_is(ended, repository):
    status, _, err = ended(f"--config={repository / 'configs' / 'cicek.py'}:big", "--quick")
    assert (status, err) == (2, "error: there is no variant 'big'; there are gpu and tiny\n")


@pytest.mark.parametrize(
    "name", ["brats.py", "brugger.py", "cicek.py", "hippocampus.py:cpu-vae", "sarcoma.py"]
)
def test_quick_makes_a_small_network_of_every_configuration(repository, name: str):
    experiment = pipeline.read_settings(quick(str(repository / "configs" / name)))
    model = nnx.eval_shape(lambda: build_model(experiment, 1, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model))) < 20_000
    assert experiment.data.patch == (8, 8, 8)


def test_quick_takes_couplings_of_one_level(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from invseg_jax.experiment import base_experiment\n"
        "def get_config():\n"
        "    experiment = base_experiment('PartialInvRes')\n"
        "    return experiment.changed({'model.settings.couplings': (1, 2, 3, 4)})\n"
    )
    experiment = pipeline.read_settings(quick(str(file)))
    assert experiment.model.network("couplings") == (1,)
    nnx.eval_shape(lambda: build_model(experiment, 1, 3))


def test_help_says_which_data_are_taken(capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["pipeline", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "With --config the data are those that `train` would be given" in said
    assert "--data ROOT [made up without --config, else embedded]" in said


def test_a_configuration_without_data_asks_for_them(ended, repository):
    status, _, err = ended(f"--config={repository / 'configs' / 'brats.py'}", "--quick")
    assert status == 2 and "needs --data" in err
