import importlib
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
from absl import flags

from invseg_jax import command
from invseg_jax.devices import compilation_cache
from invseg_jax.errors import SomeFailed, UserError, UserNotice
from invseg_jax.evaluation import prediction
from invseg_jax.interactive import tasks
from invseg_jax.segmentation.task import SegmentationTask

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

DOC = """Does a thing.

    python -m invseg_jax.thing --workdir RUN
"""


@pytest.fixture
def values() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_string("workdir", None, "Folder of the run.", flag_values=values)
    flags.DEFINE_integer("count", 0, "How many.", flag_values=values)
    flags.DEFINE_enum("split", "val", ("val", "train"), "Which cases.", flag_values=values)
    flags.mark_flag_as_required("workdir", flag_values=values)
    return values


class Ended:
    """How a command ended: its exit status and what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture, main, values: flags.FlagValues, *argv: str):
        with pytest.raises(SystemExit) as caught:
            command.run(main, values, DOC, ["thing", *argv])
        self.status = caught.value.code
        self.out, self.err = capsys.readouterr()


def never(values: flags.FlagValues) -> None:
    raise AssertionError("the command was run")


def test_a_notice_is_one_line_and_other_warnings_are_as_ever(values, capsys, monkeypatch):
    def warn(values: flags.FlagValues) -> None:
        warnings.simplefilter("always")
        warnings.warn("an older one is read", UserNotice, stacklevel=1)
        warnings.warn("something else", RuntimeWarning, stacklevel=1)

    others = []
    monkeypatch.setattr(warnings, "showwarning", lambda *found: others.append(str(found[0])))
    before = warnings.showwarning
    ended = Ended(capsys, warn, values, "--workdir=x")
    assert (ended.status, ended.err) == (0, "warning: an older one is read\n")
    assert others == ["something else"]
    assert warnings.showwarning is before


@pytest.mark.parametrize("spelling", ["--help", "-h", "-help"])
def test_help_lists_the_own_flags(values, capsys, spelling):
    ended = Ended(capsys, never, values, "--wrong", spelling)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith(DOC.rstrip())
    listed = [line.strip() for line in ended.out.splitlines() if line.startswith("  --")]
    assert listed == [
        "--count=COUNT",
        "--split=SPLIT",
        "--workdir=WORKDIR",
        "--debug",
        "--help",
    ]
    assert "Folder of the run." in ended.out
    assert "How many. [0]" in ended.out
    assert "[val]" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 100


def test_long_help_is_wrapped(values, capsys):
    flags.DEFINE_bool("long", False, " ".join(["words"] * 60), flag_values=values)
    ended = Ended(capsys, never, values, "--help")
    assert max(map(len, ended.out.splitlines())) <= 100
    assert ended.out.count("words") == 60


def test_a_command_is_given_its_flags(values, capsys):
    def main(values: flags.FlagValues) -> None:
        command.say(f"{values.workdir} {values.count + 1} {values.split}")

    ended = Ended(capsys, main, values, "--workdir", "RUN", "--count=3")
    assert (ended.status, ended.out, ended.err) == (0, "RUN 4 val\n", "")


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "--workdir"),
        (("--workdir=RUN", "--colour=red"), "colour"),
        (("--workdr=RUN",), "Did you mean: workdir"),
        (("--workdir=RUN", "case_7"), "unexpected argument 'case_7'"),
        (("--workdir=RUN", "--count=many"), "'many'"),
        (("--workdir=RUN", "--split=test"), "val|train"),
        (("--workdir",), "Missing value for flag --workdir"),
    ],
)
def test_a_wrong_flag_is_one_line_and_status_2(values, capsys, arguments, said):
    ended = Ended(capsys, never, values, *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert said in ended.err
    assert ended.err.count("'") % 2 == 0


def fails(values: flags.FlagValues) -> None:
    try:
        open("/not/there")
    except OSError as error:
        raise UserError("RUN: cannot be read; choose another") from error


def test_an_error_of_the_user_is_one_line(values, capsys):
    ended = Ended(capsys, fails, values, "--workdir=RUN")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == "error: RUN: cannot be read; choose another\n"


def test_some_cases_that_failed_are_one_line_and_status_1(values, capsys):
    def left_out(values: flags.FlagValues) -> None:
        raise SomeFailed("1 of 3 cases could not be read")

    ended = Ended(capsys, left_out, values, "--workdir=RUN")
    assert (ended.status, ended.err) == (1, "error: 1 of 3 cases could not be read\n")


def test_debug_shows_the_traceback_and_its_cause(values, capsys):
    ended = Ended(capsys, fails, values, "--workdir=RUN", "--debug")
    assert ended.status == 2
    assert "Traceback" in ended.err
    assert "FileNotFoundError" in ended.err
    assert ended.err.endswith("\nerror: RUN: cannot be read; choose another\n")


def test_a_fault_of_the_program_is_not_hidden(values):
    with pytest.raises(ZeroDivisionError):
        command.run(lambda _: print(1 // 0), values, DOC, ["thing", "--workdir=RUN"])


def test_other_ends_keep_their_status(values, capsys):
    def interrupted(_) -> None:
        raise KeyboardInterrupt

    def stopped(_) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    ended = Ended(capsys, interrupted, values, "--workdir=RUN")
    assert (ended.status, ended.err) == (130, "interrupted\n")
    assert Ended(capsys, stopped, values, "--workdir=RUN").status == 143


CONFIG = """
from invseg_jax.experiment import base_experiment

def get_config():
    return base_experiment().changed({changes})
"""


def read(values: flags.FlagValues) -> None:
    """A command that needs its configuration."""
    experiment = command.read_config(values)
    command.say(f"{experiment.steps} {experiment.data.patch} {experiment.data.cases}")


@pytest.mark.parametrize(
    "changes, override, said",
    [
        ({}, "--config.augment.flp=1", 'Did you mean "flip" instead of "flp"?'),
        ({}, "--config.stepz=1", 'Did you mean "steps" instead of "stepz"?'),
        ({}, "--config.steps=many", "'many'"),
        ({}, "--config.steps", "--config.steps needs a value: --config.steps=VALUE"),
        ({}, "--config.=3", 'there is no ""'),
        ({}, "--confg.steps=3", "Unknown command line flag 'confg.steps'"),
        ({"optimiser.warmpu": 3}, "--config.steps=1", 'Did you mean "warmup"'),
        ({"steps": "many"}, "--config.seed=1", "steps"),
    ],
)
def test_a_wrong_key_of_a_config_is_one_line(
    values, capsys, tmp_path: Path, changes: dict, override: str, said: str
):
    file = tmp_path / "config.py"
    file.write_text(CONFIG.format(changes=changes))
    command.define_config(values)
    ended = Ended(capsys, read, values, "--workdir=RUN", f"--config={file}", override)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert said in ended.err
    assert "\\" not in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config.steps=70", "--config.data.patch=(8, 9, 10)", "--config.data.cases=007"),
        ("--config.steps", "70", "-config.data.patch", "8,9,10", "--config.data.cases", "007"),
        ("--config.steps=90", "--config.data.cases=007", "--config.data.patch=[8,9,10]")
        + ("--config.steps=70",),
    ],
)
def test_values_of_a_config_can_be_changed(values, capsys, tmp_path: Path, arguments):
    file = tmp_path / "config.py"
    file.write_text(CONFIG.format(changes={}))
    command.define_config(values)
    ended = Ended(capsys, read, values, "--workdir=RUN", f"--config={file}", *arguments)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == "70 (8, 9, 10) ('007',)\n"


def test_a_command_needs_its_configuration(values, capsys):
    command.define_config(values)
    ended = Ended(capsys, never, values, "--workdir=RUN")
    assert ended.status == 2 and "--config" in ended.err and ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "text, said",
    [
        ("# A page\n\nSome prose.\n", "page.md, line 3: SyntaxError: invalid syntax"),
        ("def get_config():\nreturn 1\n", "page.md, line 2: IndentationError: expected"),
        (
            "def get_config():\n    return bare_config()\n",
            "page.md, line 2: NameError: name 'bare_",
        ),
        ("\nimport nothing_of_it\n", "page.md, line 2: ModuleNotFoundError: No module named 'not"),
        ("from invseg_jax import nothing_of_it\n", "page.md, line 1: ImportError: cannot import"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(values, capsys, tmp_path: Path, text, said):
    file = tmp_path / "page.md"
    file.write_text(text)
    arguments = ["--workdir=RUN", f"--config={file}"]
    command.define_config(values)
    ended = Ended(capsys, read, values, *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"error: --config cannot be loaded: {tmp_path}")
    assert ended.err.count("\n") == 1
    assert said in ended.err
    with_traceback = Ended(capsys, read, values, *arguments, "--debug")
    assert with_traceback.status == 2
    assert "Traceback" in with_traceback.err
    with pytest.raises(UserError, match="cannot be loaded"):
        command.load_config(str(file), [])


@pytest.mark.parametrize("content", [b"a\0b", b"\x89PNG\r\n", b"\x1f\x8b\x08"])
def test_a_file_that_is_no_text_is_no_configuration(tmp_path: Path, content: bytes):
    file = tmp_path / "image.png"
    file.write_bytes(content)
    said = "^--config cannot be loaded: .*(SyntaxError|ValueError): "
    with pytest.raises(UserError, match=said) as caught:
        command.load_config(str(file), [])
    assert "\n" not in str(caught.value) and "None" not in str(caught.value)


@pytest.mark.parametrize("arguments, wanted", [((), True), (("--nocompilation_cache",), False)])
@pytest.mark.parametrize("name", ["train", "evaluate", "predict"])
def test_the_commands_that_compile_keep_their_programs(
    monkeypatch: pytest.MonkeyPatch, name: str, arguments: tuple[str, ...], wanted: bool
):
    module = importlib.import_module(f"invseg_jax.{name}")
    own = {
        "train": ("--config", str(CONFIGS / "iseg.py:quick"), "--workdir=RUN"),
        "evaluate": ("--workdir=RUN",),
        "predict": ("--workdir=RUN", "--input=IN", "--output=OUT"),
    }[name]
    calls = []
    monkeypatch.setattr(compilation_cache, "enable", lambda on, say: calls.append(("cache", on)))

    def do(*_, **__) -> None:
        calls.append((name, True))
        raise SystemExit(0)

    # The first thing that each does with its settings.
    places: dict[str, tuple[Any, str]] = {
        "train": (SegmentationTask, "open"),
        "evaluate": (tasks, "evaluate_run"),
        "predict": (prediction, "predict"),
    }
    monkeypatch.setattr(*places[name], do)
    with pytest.raises(SystemExit) as caught:
        command.run(module.main, module.FLAGS, DOC, [name, *own, *arguments])
    assert caught.value.code == 0
    assert calls == [("cache", wanted), (name, True)]
    module.FLAGS.unparse_flags()


@pytest.mark.parametrize(
    "error, said",
    [
        (UserError("no file a\x1b[2J\r\nb\udcff"), r"no file a\x1b[2J\r\nb\udcff"),
        (MemoryError(), "memory ran out; take smaller images"),
        (MemoryError("Unable to allocate 5 TiB"), "memory ran out (Unable to allocate 5 TiB); "),
    ],
)
def test_an_error_is_one_line_whatever_it_says(values, capsys, error: Exception, said: str):
    def main(values: flags.FlagValues) -> None:
        command.say("a\x1b[2J\r\nb")
        raise error

    ended = Ended(capsys, main, values, "--workdir=RUN")
    assert ended.status == 2
    assert ended.out == "a\\x1b[2J\\r\\nb\n"
    assert ended.err.startswith(f"error: {said}") and ended.err.count("\n") == 1
    assert ended.err.rstrip("\n").isprintable()


@pytest.mark.parametrize("name", ["check_data", "evaluate", "predict"])
def test_the_commands_that_read_volumes_take_their_limit(name: str):
    values = importlib.import_module(f"invseg_jax.{name}").FLAGS
    assert values["max_bytes"].value is None
    own = command.new_flags()
    command.define_max_bytes(own)
    own(["", "--max_bytes=8GiB"])
    assert command.read_max_bytes(own) == 8 << 30
    own.max_bytes = None
    assert command.read_max_bytes(own) is None
    own.max_bytes = "much"
    with pytest.raises(UserError, match="'much' is no size"):
        command.read_max_bytes(own)
