"""Whole runs of a user who has no home folder and whom the system does not know."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_run import TINY

# The real user is a stranger, by whom Python looks for the home folder; the effective one is still
# root, who can read this checkout and its interpreter wherever they are.
PROGRAM = """
import os, runpy, sys
os.setresuid(54321, 0, 0)
os.environ.clear()
os.environ.update(JAX_PLATFORMS="cpu", TMPDIR=sys.argv[1], MPLCONFIGDIR=sys.argv[1])
_, _, balls, run, *settings = sys.argv
for name, arguments in {
    "train": ["--config", "configs/hippocampus.py", "--data", balls, "--workdir", run, *settings],
    "evaluate": ["--workdir", run],
    "predict": ["--workdir", run, "--input", balls + "/imagesTr", "--output", run + "/predicted"],
}.items():
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(f"invseg_jax.{name}", run_name="__main__")
    except SystemExit as ended:
        print(name, "ended with", ended.code, flush=True)
"""


@pytest.mark.slow
def test_nothing_needs_a_home_folder(repository: Path, balls: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    changes = [f"--config.{key}={value}" for key, value in TINY.items()]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, temporary, balls, tmp_path / "run", *changes],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = done.stdout.splitlines()
    assert "Traceback" not in done.stderr
    for name in ("train", "evaluate", "predict"):
        assert f"{name} ended with 0" in lines
    said = [line for line in lines if line.startswith("no home")]
    assert said == ["no home folder: nothing is kept for the next start; set INVSEG_CACHE"]
    assert len(list((tmp_path / "run" / "predicted").glob("*.nii.gz"))) == 6
    assert not list(temporary.glob("invseg-*"))
