import argparse
import os
import sys
from pathlib import Path

import pytest

from invseg_jax.benchmarks import startup
from invseg_jax.errors import UserError

# Says what a training says, and where it is told to keep its programs; then it would go on.
TRAINING = """
import os, sys, time
open(sys.argv[1], "a").write(os.environ["JAX_COMPILATION_CACHE_DIR"] + " " + sys.argv[-1] + "\\n")
for text in ("data: here", "compiling the training step", "step 1/400  loss 1", "step 2/400"):
    print(text, flush=True)
open(sys.argv[1] + ".pid", "w").write(str(os.getpid()))
time.sleep(60)
"""


def training(tmp_path: Path) -> list[str]:
    return [sys.executable, "-c", TRAINING, str(tmp_path / "log")]


def test_a_start_is_timed_and_ended_after_its_first_step(tmp_path: Path):
    seconds = startup._start(training(tmp_path), tmp_path, "cache", until="seconds")
    assert 0 < seconds["data"] <= seconds["compiling"] <= seconds["seconds"]
    cache, workdir = (tmp_path / "log").read_text().split()
    assert cache == str(tmp_path / "cache")
    assert workdir.startswith("--workdir=")
    assert not Path(workdir.removeprefix("--workdir=")).parent.exists()
    pid = tmp_path / "log.pid"
    if pid.exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


def test_a_start_can_end_sooner(tmp_path: Path):
    seconds = startup._start(training(tmp_path), tmp_path, "cache", until="compiling")
    assert "seconds" not in seconds


def test_a_training_that_fails_is_one_line(tmp_path: Path):
    fails = [
        sys.executable,
        "-c",
        "import sys; print('data: x', flush=True); sys.exit('error: no GPU')",
    ]
    with pytest.raises(UserError, match="before its first step.*error: no GPU"):
        startup._start(fails, tmp_path, "cache", until="seconds")


def test_each_cold_start_has_a_cache_of_its_own_and_the_warm_one_shares_it(
    monkeypatch: pytest.MonkeyPatch,
):
    caches = []

    def start(command, folder, cache, *, until):
        caches.append((cache, until))
        assert command[1:3] == ["-m", "invseg_jax.train"]
        seconds = 10.0 + 100.0 * (caches.count((cache, until)) == 1) + len(caches)
        return {"data": 1.0, "compiling": 2.0, "seconds": seconds}

    monkeypatch.setattr(startup, "_start", start)
    cold, warm = startup.measure(3)
    assert caches[0][1] == "compiling"
    assert [cache for cache, _ in caches[1:]] == ["0", "0", "1", "1", "2", "2"]
    assert caches[0][0] not in "012"
    assert (cold["name"], warm["name"]) == ("cold", "warm")
    assert (cold["seconds"], cold["fastest"], cold["slowest"]) == (114.0, 112.0, 116.0)
    assert (warm["seconds"], warm["fastest"], warm["slowest"]) == (15.0, 13.0, 17.0)


def test_the_table_holds_the_warm_start_against_its_bound(monkeypatch: pytest.MonkeyPatch):
    rows = [
        {"name": name, "data": 1.0, "compiling": 2.0, "seconds": s, "fastest": s, "slowest": s}
        for name, s in (("cold", 40.0), ("warm", 8.0))
    ]
    asked = []
    monkeypatch.setattr(startup, "measure", lambda *arguments: asked.append(arguments) or rows)
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    startup.add_options(parser)
    (table,) = startup.tables(parser.parse_args(["--quick"]))
    assert asked == [(1, None, [])]
    assert "40.0" in table.text() and "8.0" in table.text()
    assert [bound.met for bound in table.bounds] == [True]
    (table,) = startup.tables(parser.parse_args(["--config=x.py", "--data=ROOT", "--repeats=5"]))
    assert asked[-1] == (5, "x.py", ["--data=ROOT"])
    assert table.bounds == []
