"""Kills a training again and again, and compares what comes out with an undisturbed run.

    python -m tests.drills.kill
    python -m tests.drills.kill --kills 10 --during_save 5 --terms 4 --steps 60 --seed 1

A tiny network trains on six balls, once undisturbed and once under fire: kill -9 at random moments
(many of them while a checkpoint is being written) and SIGTERM. Each time it is started again by the
same command, until it is done. Then every array of the last checkpoint must be equal to the bit.
Prints one line at the end; exits with 1 if anything differs. With the numbers that stand here by
default it takes a quarter of an hour or, where the two processor cores do other work, twice that.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.tiny_run import TINY, parameters, write_balls

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SAVE, ANY, TERM = "kill -9 during a save", "kill -9 at any time", "SIGTERM"
PATIENCE = 600.0  # seconds until a training must have taken a step or ended


class Failed(Exception):
    """A training did what it must not do."""


@dataclass
class Counts:
    """What was done so far."""

    kills: int = 0
    during_save: int = 0
    terms: int = 0
    starts: int = 0


@dataclass
class Training:
    """The training of one folder, started as a user would start it."""

    data: Path
    run: Path
    cache: Path
    steps: int

    @property
    def checkpoints(self) -> Path:
        return self.run / "checkpoints"

    def start(self, output: Path) -> subprocess.Popen:
        """Starts it, or goes on with it; what it prints goes to a file."""
        changes = TINY | {
            "steps": self.steps,
            "save_every": 1,
            "log_every": 50,
            "eval_every": 10 * self.steps,
            "data.threads": 2,
        }
        arguments = ["--config", "configs/hippocampus.py", "--data", str(self.data)]
        arguments += ["--workdir", str(self.run)]
        arguments += [f"--config.{key}={value}" for key, value in changes.items()]
        environment = os.environ | {"INVSEG_CACHE": str(self.cache), "JAX_PLATFORMS": "cpu"}
        with output.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "invseg_jax.train", *arguments],
                cwd=REPOSITORY,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def newest(self) -> int:
        """The newest step that is saved, 0 where none is."""
        return max((int(name) for name in self._names() if name.isdecimal()), default=0)

    def half_written(self) -> set[tuple[str, int]]:
        """The checkpoints that are being written, or were left so by a kill: name and inode."""
        found = set()
        for name in self._names():
            if "tmp" in name:
                with contextlib.suppress(FileNotFoundError):  # finished meanwhile
                    found.add((name, (self.checkpoints / name).stat().st_ino))
        return found

    def done(self) -> bool:
        """Whether the last step is saved."""
        return self.newest() == self.steps

    def _names(self) -> list[str]:
        return os.listdir(self.checkpoints) if self.checkpoints.is_dir() else []


def disturb(training: Training, how: str, counts: Counts, chance: random.Random) -> None:
    """Starts a training and ends it, unless it is done before.

    Args:
        training: goes on from where it is.
        how: `SAVE`, `ANY` or `TERM`.
        counts: are added to.
        chance: decides on the moment.

    Raises:
        Failed: it ended by itself, or otherwise than it was asked to.
    """
    before, leftover = training.newest(), training.half_written()
    output = training.run.with_suffix(".txt")
    process = training.start(output)
    counts.starts += 1
    try:
        if how == ANY:
            # From before the first line of Python to some steps after the first.
            _wait(process, until=time.monotonic() + chance.uniform(0, 12))
        else:
            deadline = time.monotonic() + PATIENCE
            while process.poll() is None and training.newest() <= before:
                if time.monotonic() > deadline:
                    raise Failed(f"no step within {PATIENCE:.0f} s: {_last_lines(output)}")
                time.sleep(0.002)
            if how == TERM:
                _wait(process, until=time.monotonic() + chance.uniform(0, 0.3))
            else:
                for _ in range(chance.randint(1, 3)):  # one of the next saves
                    _await_save(process, training)
                _wait(process, until=time.monotonic() + chance.uniform(0, 0.03))
        process.send_signal(signal.SIGTERM if how == TERM else signal.SIGKILL)
        status = process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if status == -signal.SIGKILL and how != TERM:
        counts.kills += 1
        counts.during_save += not training.half_written() <= leftover
    elif status == 128 + signal.SIGTERM and how == TERM:
        counts.terms += 1
        if training.newest() <= before:
            raise Failed(f"stopped by SIGTERM, it saved nothing: {_last_lines(output)}")
    elif not (status == 0 and training.done()):
        raise Failed(f"{how}: it ended with status {status}: {_last_lines(output)}")


def _await_save(process: subprocess.Popen, training: Training) -> None:
    for wanted in (False, True):  # the end of the save under way, then the beginning of the next
        while (
            process.poll() is None
            and bool(training.half_written()) != wanted
            and not training.done()
        ):
            time.sleep(0.0005)


def _wait(process: subprocess.Popen, until: float) -> None:
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)


def _last_lines(output: Path) -> str:
    return " / ".join(output.read_text(errors="replace").splitlines()[-5:])


def finish(training: Training, counts: Counts) -> None:
    """Lets a training come to its end.

    Raises:
        Failed: it does not.
    """
    output = training.run.with_suffix(".txt")
    process = training.start(output)
    counts.starts += 1
    if process.wait(10 * PATIENCE) != 0 or not training.done():
        raise Failed(f"it ended with status {process.returncode}: {_last_lines(output)}")


def differing(one: Path, other: Path) -> list[str]:
    """The arrays of two runs' last checkpoints that are not equal to the bit."""
    left, right = parameters(one), parameters(other)
    wrong = sorted(left.keys() ^ right.keys())
    for name in sorted(left.keys() & right.keys()):
        a, b = left[name], right[name]
        if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
            wrong.append(name)
    return wrong if left else ["nothing was read"]


def drill(folder: Path, options: argparse.Namespace) -> tuple[Counts, int, list[str]]:
    """Runs both trainings, the second as often as is needed for all kills.

    Returns:
        What was done, the number of disturbed runs that came to their end, and the arrays that
        differ, of any of them.

    Raises:
        Failed: a training did what it must not do.
    """
    chance, counts = random.Random(options.seed), Counts()
    data, cache = folder / "data", folder / "cache"
    write_balls(data)
    calm = Training(data, folder / "calm", cache, options.steps)
    finish(calm, Counts())
    plan = [SAVE] * min(options.kills, options.during_save + 2)
    plan += [ANY] * (options.kills - len(plan)) + [TERM] * options.terms
    chance.shuffle(plan)
    wrong, runs = [], 0
    while True:
        training = Training(data, folder / f"disturbed-{runs}", cache, options.steps)
        while not training.done():
            if not plan:
                # Some of those meant for a save came too late for it.
                missing = max(
                    options.during_save - counts.during_save, options.kills - counts.kills
                )
                plan = [SAVE] * missing + [TERM] * (options.terms - counts.terms)
            if not plan:
                finish(training, counts)
                break
            disturb(training, plan.pop(), counts, chance)
            print(f"step {training.newest()} of {training.steps}: {counts}", flush=True)
        runs += 1
        wrong += differing(calm.run, training.run)
        if (
            not plan
            and counts.kills >= options.kills
            and counts.during_save >= options.during_save
            and counts.terms >= options.terms
        ):
            return counts, runs, wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="kill -9 [50]")
    parser.add_argument("--during_save", type=int, default=25, help="of these, in a save [25]")
    parser.add_argument("--terms", type=int, default=20, help="SIGTERM [20]")
    parser.add_argument("--steps", type=int, default=200, help="of the training [200]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    options = parser.parse_args(argv)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="invseg-drill-") as folder:
        try:
            counts, runs, wrong = drill(Path(folder), options)
        except Failed as error:
            print(f"FAILED: {error}")
            return 1
    verdict = "all arrays equal" if not wrong else f"FAILED: {', '.join(sorted(set(wrong)))} differ"
    print(
        f"{counts.kills} kill -9 ({counts.during_save} during a save), {counts.terms} SIGTERM, "
        f"{counts.starts} starts, {runs} run(s) of {options.steps} steps, "
        f"{time.monotonic() - begun:.0f} s: {verdict}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
