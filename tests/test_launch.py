"""The launch scripts: what they run, with which arguments, and how they fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run_script(script: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(script), *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of launch/ whose environment is a recorder: it prints the commands it is given.

    Only what is asked of Python itself (-c) is run.
    """
    launch = tmp_path / "a checkout" / "launch"
    shutil.copytree(ROOT / "launch", launch)
    recorder = launch.parent / "recorder"
    recorder.write_text(
        "#!/usr/bin/env bash\n"
        f'if [[ $1 == -c ]]; then exec "{sys.executable}" "$@"; fi\n'
        'printf "<%s>" "$@"\necho\n',
        encoding="utf-8",
    )
    recorder.chmod(0o755)
    (launch / "environment.sh").write_text(
        'root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)\n'
        "python=$root/recorder\nprepare_environment() { :; }\n",
        encoding="utf-8",
    )
    for name in ("runs/quickstart", "my run"):
        (launch.parent / name / "eval").mkdir(parents=True)
        (launch.parent / name / "eval" / "report.html").touch()
        (launch.parent / name / "eval" / "case 1.nii.gz").touch()
    return launch.parent


@pytest.mark.parametrize(
    ("arguments", "train", "evaluate"),
    [
        ((), "<--config><configs/iseg.py:quick><--workdir><runs/quickstart>", "runs/quickstart"),
        (("--workdir", "my run"), "<--config><configs/iseg.py:quick><--workdir><my run>", "my run"),
        (("--workdir=my run",), "<--config><configs/iseg.py:quick><--workdir><my run>", "my run"),
        (
            ("--config", "configs/msd.py", "--config.seed=1", "--workdir=my run"),
            "<--config><configs/msd.py><--workdir><my run><--config.seed=1>",
            "my run",
        ),
        (
            ("--data", "a b"),
            "<--config><configs/iseg.py:quick><--workdir><runs/quickstart><--data=a b>",
            "runs/quickstart><--data=a b",
        ),
    ],
)
def test_quickstart_evaluates_the_run_it_trained(
    checkout: Path, arguments: tuple[str, ...], train: str, evaluate: str
) -> None:
    done = run_script(checkout / "launch" / "quickstart.sh", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"<-m><invseg_jax.train>{train}"
    assert lines[1] == f"<-m><invseg_jax.evaluate><--workdir><{evaluate}>"
    workdir = evaluate.partition(">")[0]
    assert f"  report      {workdir}/eval/report.html" in lines
    assert f"  label maps  {workdir}/eval" in lines
    assert not any(line.startswith("  pictures") for line in lines)


@pytest.mark.parametrize(
    ("described", "split"),
    [
        ('{"training": [["a", "1"]], "held_out": []}', "<--split><train>"),
        ('{"training": [["a", "1"]], "held_out": [["b", "2"]]}', ""),
        ("{", ""),  # evaluate says what is wrong
    ],
)
def test_quickstart_evaluates_what_it_trained_on_where_nothing_is_held_out(
    checkout: Path, described: str, split: str
) -> None:
    (checkout / "my run" / "data.json").write_text(described, encoding="utf-8")
    arguments = ("--workdir", "my run", "--data", "a b")
    done = run_script(checkout / "launch" / "quickstart.sh", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    evaluate = "<-m><invseg_jax.evaluate><--workdir><my run><--data=a b>"
    assert done.stdout.splitlines()[1] == f"{evaluate}{split}"


def test_quickstart_stops_when_training_fails(checkout: Path) -> None:
    recorder = checkout / "recorder"
    recorder.write_text("#!/usr/bin/env bash\necho trained\nexit 3\n", encoding="utf-8")
    done = run_script(checkout / "launch" / "quickstart.sh")
    assert (done.returncode, done.stdout) == (3, "trained\n")


def test_quickstart_names_the_flag_without_a_value(checkout: Path) -> None:
    done = run_script(checkout / "launch" / "quickstart.sh", "--workdir")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --workdir needs a value")


def test_arguments_of_the_test_script_go_to_pytest(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = checkout / "launch" / "test.sh"
    some = run_script(script, "tests/a b.py", "-x").stdout
    assert some == "<-m><pytest><-m><not slow and not tpu_backend><tests/a b.py><-x>\n"
    monkeypatch.setenv("INVSEG_BROWSER_SOUGHT", "1")  # nothing is installed
    everything = run_script(script, "--all").stdout.splitlines()
    assert everything[:2] == ["<-m><ruff><check>", "<-m><ruff><format><--check>"]
    together = "<--numprocesses><auto><--maxprocesses><4><--dist><loadfile>"
    assert everything[-1] == f"<-m><pytest><-m><>{together}"


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_help_shows_an_example_and_installs_nothing(script: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    done = run_script(tmp_path / "launch" / script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  bash launch/{script}\n" in done.stdout
    assert not (tmp_path / ".venv").exists()


def test_unusable_python_is_named(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "launch", tmp_path / "launch")
    missing = run_script(tmp_path / "launch" / "test.sh", PYTHON=str(tmp_path / "none"))
    assert missing.returncode == 2
    assert missing.stderr.startswith(f"error: PYTHON={tmp_path / 'none'} is no Python 3.11")
    assert not (tmp_path / ".venv").exists()
