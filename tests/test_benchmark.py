import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from invseg_jax import benchmark


def ended(capsys: pytest.CaptureFixture, *arguments: str) -> tuple[int, str, str]:
    status = benchmark.main(arguments)
    return status, *capsys.readouterr()


def test_help_lists_the_benchmarks_without_loading_jax(repository: Path) -> None:
    code = (
        "import sys; from invseg_jax import benchmark\n"
        "assert benchmark.main(['--help']) == 0\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name in benchmark.BENCHMARKS:
        assert f"\n  {name} " in done.stdout
    assert "python -m invseg_jax.benchmark memory\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("name", benchmark.BENCHMARKS)
def test_every_benchmark_has_help_with_an_example(capsys, name):
    with pytest.raises(SystemExit) as caught:
        benchmark.main([name, "--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert f"\n    python -m invseg_jax.benchmark {name}" in out
    assert "--json" in out and "--quick" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pace",), "no benchmark is called 'pace'; there are memory, slabs, speed, "),
        (("conv", "--shape=3x3"), "unrecognized arguments: --shape=3x3 (see --help)"),
        (("conv", "--shapes", "48"), "'48' is not of the form VOXELSxCHANNELS, such as 48x16"),
        (("conv", "--shapes", "4x0"), "both numbers must be at least 1"),
        (("conv", "--repeats=many"), "--repeats: 'many' is no whole number of at least 1"),
        (("slabs", "--repeats=-1"), "--repeats: '-1' is no whole number of at least 1"),
        (("slabs", "--channels=1"), "chain: "),
        (("memory", "--channels", "33", "64"), "33 channels the halves differ"),
        (("conv", "--json"), "expected one argument"),
        (("memory", "--platform=abacus"), "invalid choice: 'abacus'"),
        (("memory", "--depths", "0"), "--depths: '0' is no whole number of at least 1"),
        (("drift", "--depths", "3", "0"), "--depths: '0' is no whole number of at least 1"),
        (("slabs", "--slabs", "0"), "--slabs: '0' is no whole number of at least 1"),
        (("volume", "--couplings", "3"), "give an even number"),
    ],
)
def test_what_a_user_can_cause_is_one_line(capsys, arguments, said):
    status, _, err = ended(capsys, *arguments)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err


def test_without_a_name_it_says_which_there_are(capsys):
    status, out, err = ended(capsys)
    assert (status, err) == (2, "error: which benchmark? (see above)\n")
    assert "  memory " in out


def test_a_missing_package_is_named(capsys, monkeypatch):
    monkeypatch.setitem(benchmark.MODULES, "pipeline", "no_such_package")
    status, _, err = ended(capsys, "pipeline")
    assert status == 2
    assert err == "error: pipeline needs no_such_package: install all of invseg_jax's packages\n"


def test_debug_shows_the_traceback(capsys):
    status, _, err = ended(capsys, "memory", "--depths=0", "--debug")
    assert status == 2
    assert err.startswith("Traceback") and err.endswith(
        "error: argument --depths: '0' is no whole number of at least 1 (see --help)\n"
    )


def test_earlier_rows_stay_until_there_are_new_ones(capsys, tmp_path, monkeypatch):
    file = tmp_path / "rows.json"
    file.write_text("of last week")

    def exhausted(options):
        raise RuntimeError("RESOURCE_EXHAUSTED: 119 GiB")
        yield

    module = importlib.import_module("invseg_jax.benchmarks.conv")
    monkeypatch.setattr(module, "tables", exhausted)
    status, _, err = ended(capsys, "conv", f"--json={file}")
    assert status == 2
    assert err == "error: the device ran out of memory; take smaller sizes (see --help)\n"
    assert file.read_text() == "of last week"


def test_a_file_that_cannot_be_written_is_said_at_once(capsys, tmp_path):
    (tmp_path / "file").touch()
    status, out, err = ended(capsys, "conv", f"--json={tmp_path / 'file' / 'rows.json'}")
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and "cannot be written" in err and err.count("\n") == 1


def test_ctrl_c(capsys, monkeypatch):
    def interrupted(_: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "_run", interrupted)
    assert ended(capsys, "conv") == (130, "", "interrupted\n")
