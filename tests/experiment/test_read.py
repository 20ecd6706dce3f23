"""Configurations by the name of their file, or by the name under which they are shipped."""

from pathlib import Path

import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import EmbeddedSettings, base_experiment, read_experiment
from invseg_jax.experiment.read import find_file, read_with_texts, shipped

FILE = """
from invseg_jax.experiment import base_experiment

def get_config(variant="small"):
    return base_experiment().changed({"steps": {"small": 100, "large": 900}[variant]})
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_file_and_its_variants(file: Path):
    assert read_experiment(str(file)) == base_experiment().changed({"steps": 100})
    assert read_experiment(f"{file}:large").steps == 900
    assert read_experiment(f"{file}:large", {"steps": 300, "seed": 2}).steps == 300
    assert read_with_texts(f"{file}:large", {"steps": "300"}).steps == 300


def test_those_that_are_shipped_have_names(repository: Path):
    assert shipped()["iseg"].samefile(repository / "configs" / "iseg.py")
    assert {path.stem for path in (repository / "configs").glob("*.py")} == set(shipped())
    assert read_experiment("iseg:quick").data.embedded == EmbeddedSettings(spacing=2.0)
    assert read_experiment("iseg:quick") == read_experiment(f"{shipped()['iseg']}:quick")
    assert find_file("iseg") == shipped()["iseg"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("iseq", "neither a file iseq nor a configuration of this name; there are brats, brugger"),
        ("configs/iseq.py:quick", "there is no file configs/iseq.py"),
        ("mine.py", "there is no file mine.py"),
        ("", "neither a file  nor a configuration"),
        ("iseg:fast", "there is no variant 'fast'; there are quick, cpu, full"),
    ],
)
def test_what_there_is_not_is_one_line(name: str, said: str):
    with pytest.raises(UserError) as caught:
        read_experiment(name)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_misspelt_change_is_one_line(file: Path):
    with pytest.raises(UserError, match='config: Did you mean "steps" instead of "stepz"?'):
        read_experiment(str(file), {"stepz": 3})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "has no function get_config"),
        ("get_config = 3\n", "has no function get_config"),
        ("def get_config(): return 3\n", "gives a int, not an Experiment"),
        ("def get_config(): return {'steps': 3}\n", "gives a dict, not an Experiment"),
        ("def get_config():\n    import sys\n    sys.exit(0)\n", ", line 3: SystemExit: 0"),
        ("def get_config():\n    return 1 / 0\n", ", line 2: ZeroDivisionError: division"),
        ("def get_config(:\n", ", line 1: SyntaxError: "),
    ],
)
def test_a_file_that_gives_no_experiment_is_one_line(tmp_path: Path, text: str, said: str):
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(UserError, match="^config cannot be loaded: ") as caught:
        read_experiment(str(file))
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_without_variants_refuses_one(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text(FILE.replace('variant="small"', "").replace("[variant]", "['small']"))
    assert read_experiment(str(file)).steps == 100
    with pytest.raises(UserError, match="mine.py has no variants; leave :large away"):
        read_experiment(f"{file}:large")
