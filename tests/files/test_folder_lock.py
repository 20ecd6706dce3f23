"""Two processes in one folder, and what is left of one that was killed."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from invseg_jax.errors import UserError
from invseg_jax.files.folder_lock import folder_lock

HOLDS = """
import pathlib, sys, time
from invseg_jax.files.folder_lock import folder_lock

with folder_lock(pathlib.Path(sys.argv[1]), "a training"):
    print("held", flush=True)
    time.sleep(120)
"""


def test_another_process_is_refused_until_the_first_is_killed(repository: Path, tmp_path: Path):
    folder = tmp_path / "new" / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)],
        cwd=repository,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    try:
        with pytest.raises(UserError, match=r"a training is at work in .*run already"):
            with folder_lock(folder, "a training"):
                pass
    finally:
        process.kill()
        process.communicate()
    entered = False
    with folder_lock(folder, "a training"):
        entered = True
    assert entered


def test_it_is_free_again_after_the_block_and_after_an_error(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), folder_lock(tmp_path, "a training"):
            with pytest.raises(UserError), folder_lock(tmp_path, "a training"):
                pass
            raise ZeroDivisionError


def test_a_file_system_without_locks_is_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def none(*_) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with folder_lock(tmp_path, "a training"), folder_lock(tmp_path, "a training"):
        pass
    assert (tmp_path / ".lock").exists()


def test_a_folder_that_is_a_file_is_named(tmp_path: Path):
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match=r"cannot write to .*run: it is not a folder"):
        with folder_lock(tmp_path / "run", "a training"):
            pass
