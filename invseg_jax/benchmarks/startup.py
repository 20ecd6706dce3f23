"""From nothing to the end of the first training step, the programs not compiled yet and kept.

    python -m invseg_jax.benchmark startup
    python -m invseg_jax.benchmark startup --config configs/hippocampus.py:cpu --data ROOT

Each start is a process of its own. The cold ones find an empty compilation cache, each warm one
that of the cold one before it. The data are prepared beforehand.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.table import Bound, Column, Row, Table
from invseg_jax.errors import UserError

# What the training says, and so when it has got there.
MARKS = {"data": "data: ", "compiling": "compiling ", "seconds": "step 1/"}
COLUMNS = (
    Column("name", "compilation cache"),
    Column("data", "imported s", ".1f"),
    Column("compiling", "state made s", ".1f"),
    Column("seconds", "first step done s", ".1f"),
    Column("fastest", "fastest s", ".1f"),
    Column("slowest", "slowest s", ".1f"),
)
WARM_LIMIT = 12.0  # seconds, on two processor cores


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the table's own options."""
    parser.add_argument("--repeats", type=at_least_one, help="cold and warm starts [3; --quick 1]")
    parser.add_argument("--config", metavar="FILE", help="[configs/iseg.py:quick]")
    parser.add_argument("--data", metavar="ROOT", help="[the embedded cohort]")


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """The medians of the cold and of the warm starts."""
    repeats = options.repeats or (1 if options.quick else 3)
    arguments = [f"--data={options.data}"] if options.data else []
    rows = measure(repeats, options.config, arguments)
    title = f"{options.config or 'configs/iseg.py:quick'}: medians of {repeats} starts"
    notes = ["All columns count from the start of the process."]
    warm = next(row["seconds"] for row in rows if row["name"] == "warm")
    bounds = [] if options.config else [Bound("warm start, s", warm, WARM_LIMIT, form=".1f")]
    yield Table(title, COLUMNS, rows, notes, bounds)


def measure(repeats: int, config: str | None = None, arguments: Sequence[str] = ()) -> list[Row]:
    """Starts trainings and stops each after its first step.

    Args:
        repeats: cold starts, and as many warm ones; they take turns.
        config: as for `invseg_jax.train`; by default `configs/iseg.py:quick` of this checkout.
        arguments: further ones of `invseg_jax.train`.

    Returns:
        A row for "cold" and one for "warm": medians of the seconds from the start of the process
        until the imports are done and the data found (`data`), until the state is on the devices
        (`compiling`), and until the first step is done (`seconds`), of which also `fastest` and
        `slowest`.

    Raises:
        UserError: there are no configurations here, or a training ended before its first step.
    """
    if config is None:
        folder = Path(__file__).resolve().parents[2] / "configs"
        if not folder.is_dir():
            raise UserError(f"{folder} is not there: give --config, or run this from a checkout")
        config = f"{folder / 'iseg.py'}:quick"
    command = [sys.executable, "-m", "invseg_jax.train", f"--config={config}", *arguments]
    starts: dict[str, list[dict[str, float]]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory(prefix="invseg-startup-") as folder:
        # Prepares the data, and brings the libraries from the disk into memory.
        _start(command, Path(folder), "prepare", until="compiling")
        for number in range(repeats):
            for start in starts.values():
                start.append(_start(command, Path(folder), str(number), until="seconds"))
    return [
        {"name": name}
        | {mark: statistics.median(start[mark] for start in starts[name]) for mark in MARKS}
        | {
            "fastest": min(start["seconds"] for start in starts[name]),
            "slowest": max(start["seconds"] for start in starts[name]),
        }
        for name in starts
    ]


def _start(command: Sequence[str], folder: Path, cache: str, *, until: str) -> dict[str, float]:
    """Starts a training with one of the caches in `folder`; seconds until it says each mark."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / cache)}
    said, seconds = "", {}
    with tempfile.TemporaryDirectory(dir=folder) as run:
        begun = time.perf_counter()
        with subprocess.Popen(
            [*command, f"--workdir={run}/run"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for said in process.stdout or ():
                for mark, text in MARKS.items():
                    if said.startswith(text):
                        seconds[mark] = time.perf_counter() - begun
                if until in seconds:
                    break
            process.kill()
    if until in seconds:
        return seconds
    raise UserError(f"a training ended before its first step; its last words: {said.strip()!r}")
