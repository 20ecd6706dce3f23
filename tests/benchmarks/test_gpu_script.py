"""launch/gpu_benchmark.sh: what it runs, what it writes, and how it fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECORDER = """#!/usr/bin/env bash
printf '<%s>' "$@"
echo
if [[ $4 == --broken || $3 == drift ]]; then exit 2; fi
"""


def run(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(repository / "launch" / "gpu_benchmark.sh"), *arguments],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """An interpreter that prints what it is given; it fails at the drift."""
    path = tmp_path / "a recorder"
    path.write_text(RECORDER, encoding="utf-8")
    path.chmod(0o755)
    return path


def test_all_steps_run_although_one_fails(repository, recorder, tmp_path):
    output = tmp_path / "some results"
    done = run(repository, f"--python={recorder}", "--output", str(output))
    assert done.returncode == 1
    assert done.stderr == "error: failed: drift\n"
    commands = [line for line in done.stdout.splitlines() if line.startswith("<-m>")]
    assert len(commands) == 11
    assert commands[0] == (
        "<-m><invseg_jax.benchmark><memory><--subjects><chain><network><--network-size><96>"
        f"<--json><{output}/memory.json>"
    )
    assert commands[-1].startswith("<-m><invseg_jax.benchmark><volume><--couplings><8><--json>")
    assert (output / "memory-bfloat16.txt").read_text().endswith("/memory-bfloat16.json>\n")


def test_some_steps_at_small_sizes(repository, recorder, tmp_path):
    done = run(
        repository, "--quick", "--python", str(recorder), f"--output={tmp_path}", "conv", "volume"
    )
    assert (done.returncode, done.stderr) == (0, "")
    commands = [line for line in done.stdout.splitlines() if line.startswith("<-m>")]
    assert commands == [
        f"<-m><invseg_jax.benchmark><{step}><--quick><--json><{tmp_path}/{step}.json>"
        for step in ("conv", "volume")
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pace",), "no step is called 'pace'; there are memory memory-bfloat16 slabs "),
        (("--fast",), "no step is called '--fast'; there are "),
        (("--output",), "--output needs a value"),
        (("--python=/no/such/python", "conv"), "there is no such program"),
    ],
)
def test_what_a_user_can_cause_is_one_line(repository, arguments, said):
    done = run(repository, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert said in done.stderr


def test_help(repository):
    done = run(repository, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "bash launch/gpu_benchmark.sh --python" in done.stdout


@pytest.mark.slow
def test_a_step_with_this_interpreter(repository, tmp_path):
    done = run(repository, "--quick", f"--python={sys.executable}", f"--output={tmp_path}", "conv")
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "conv.json").read_text())
    assert written["benchmark"] == "conv" and len(written["tables"][0]["rows"]) == 2
    assert "3x3x3 convolution" in (tmp_path / "conv.txt").read_text()
