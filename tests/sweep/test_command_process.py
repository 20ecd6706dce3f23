"""Commands in processes of their own: their status, and what reaches them."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from invseg_jax.sweep.command_process import run_command
from invseg_jax.training.preemption import StopRequest

WAITING = """
import pathlib, signal, sys, time

def stop(*_):
    pathlib.Path(sys.argv[1], "told").touch()
    sys.exit(143)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, signal.SIG_IGN)
pathlib.Path(sys.argv[1], "begun").touch()
time.sleep(120)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "waiting_command.py").write_text(WAITING)
    (tmp_path / "exits.py").write_text("import sys; sys.exit(int(sys.argv[1]))")
    (tmp_path / "killed.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def once_begun(folder: Path, number: int) -> None:
    def send() -> None:
        while not (folder / "begun").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def test_the_status_is_the_commands(modules: Path):
    with StopRequest() as stop:
        assert run_command("exits", ["0"], stop) == 0
        assert run_command("exits", ["3"], stop) == 3
        assert run_command("killed", [], stop) == 128 + signal.SIGKILL


def test_sigterm_reaches_the_command(modules: Path):
    with StopRequest() as stop:
        once_begun(modules, signal.SIGTERM)
        with pytest.raises(SystemExit) as caught:
            run_command("waiting_command", [str(modules)], stop)
        assert caught.value.code == 143
        assert (modules / "told").exists()
        with pytest.raises(SystemExit):  # and nothing is begun any more
            run_command("exits", ["0"], stop)


def test_ctrl_c_ends_the_command_too(modules: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules[run_command.__module__], "GRACE", 0.1)
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as stop:
            once_begun(modules, signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                run_command("waiting_command", [str(modules)], stop)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (modules / "told").exists()
