"""Seconds and memory of interactive segmentation on a large volume.

    python -m invseg_jax.benchmark session
    python -m invseg_jax.benchmark session --workdir RUN --prompts 300

The volume is generated: an ellipsoid in noise, as large as a CT of the abdomen. The first table is
one round: a box on the middle slice, carried to all others. The first round compiles the networks'
programs, so it stands for itself. The second table is a long session of clicks on slices in turn,
each carried: neither memory nor time may grow with the number of prompts.

Without --workdir the networks have the sizes of `configs/interactive.py:cpu` and their first
weights: they find nothing of use, in the same time.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.table import Column, Row, Table
from invseg_jax.experiment import Experiment
from invseg_jax.interactive.classical import Classical
from invseg_jax.interactive.method import Method, SliceVolume
from invseg_jax.interactive.objective import InteractiveObjective, build_networks
from invseg_jax.interactive.prompts import Box, Click
from invseg_jax.interactive.session import Session
from invseg_jax.interactive.trained import NetworkMethod, load_method

MIB = 2**20
SPACING = (3.0, 0.8, 0.8)


@dataclass(frozen=True)
class Settings:
    """The sizes of the tables.

    Attributes:
        shape: slices, rows and columns.
        prompts: of the long session.
        repeats: rounds of which the median is taken.
    """

    shape: Sequence[int]
    prompts: int
    repeats: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the tables' own options."""
    parser.add_argument("--workdir", type=Path, help="a trained run")
    parser.add_argument(
        "--shape",
        type=at_least_one,
        nargs=3,
        metavar=("SLICES", "ROWS", "COLUMNS"),
        help="[100 512 512; --quick 6 32 32]",
    )
    parser.add_argument("--prompts", type=at_least_one, help="[300; --quick 4]")
    parser.add_argument("--repeats", type=at_least_one, help="[3; --quick 1]")


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """One round, then a long session."""
    usual = Settings((6, 32, 32), 4, 1) if options.quick else Settings((100, 512, 512), 300, 3)
    settings = Settings(
        tuple(options.shape or usual.shape),
        options.prompts or usual.prompts,
        options.repeats or usual.repeats,
    )
    volume = ellipsoid(settings.shape)
    network = (
        first_weights(options.quick) if options.workdir is None else load_method(options.workdir)
    )
    methods = {"networks": network, "without a network": Classical()}
    yield one_round(volume, methods, settings)
    yield long_session(volume, methods, settings)


def ellipsoid(shape: Sequence[int]) -> SliceVolume:
    """A bright ellipsoid of a third of the volume's sides, in noise."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal(tuple(shape)).astype(np.float32)
    squared = np.zeros(tuple(shape), np.float32)
    for axis, length in enumerate(shape):
        at = (np.arange(length) - (length - 1) / 2) / (length / 6)
        squared += np.expand_dims(at**2, [a for a in range(3) if a != axis]).astype(np.float32)
    return SliceVolume(image + 4 * (squared < 1), SPACING)


def first_weights(small: bool) -> NetworkMethod:
    """Networks that have not been trained."""
    experiment = Experiment(task="interactive")
    if small:
        experiment = experiment.changed(
            {
                "interactive.window": 16,
                "interactive.channels": (4, 8),
                "interactive.level": 1,
                "interactive.detail": 2,
            }
        )
    interaction, memory = build_networks(experiment)
    weights = {"interaction": nnx.split(interaction)[1], "memory": nnx.split(memory)[1]}
    return NetworkMethod.of(InteractiveObjective.build(experiment), weights)


def one_round(volume: SliceVolume, methods: dict[str, Method], settings: Settings) -> Table:
    """A box on the middle slice, carried to all others."""
    rows: list[Row] = []
    for name, method in methods.items():
        seconds = []
        for _ in range(1 + settings.repeats):
            session = Session(volume, method)
            begun = time.perf_counter()
            session.prompt(box(volume), volume.slices // 2)
            seconds.append(time.perf_counter() - begun)
        row: Row = {"method": name, "first": seconds[0], "round": statistics.median(seconds[1:])}
        row["peak_mib"] = peak_mib()
        rows.append(row)
    columns = [
        Column("method", "method"),
        Column("first", "first round s", ".1f"),
        Column("round", "round s", ".1f"),
        Column("peak_mib", "peak MiB so far", ".0f"),
    ]
    size = " x ".join(map(str, settings.shape))
    return Table(f"session: one round on {size}, {jax.default_backend()}", columns, rows)


def long_session(volume: SliceVolume, methods: dict[str, Method], settings: Settings) -> Table:
    """Clicks on slices in turn; the first and the last tenth of them stand beside each other."""
    rows: list[Row] = []
    part = max(settings.prompts // 10, 1)
    for name, method in methods.items():
        session, seconds = Session(volume, method), []
        session.prompt(box(volume), volume.slices // 2)
        before = peak_mib()
        middle = [float(n // 2) for n in volume.shape]
        for number in range(settings.prompts):
            index = (number * 7) % volume.slices
            begun = time.perf_counter()
            session.prompt(Click(((middle[0], middle[1]),), number % 2 == 0), index)
            seconds.append(time.perf_counter() - begun)
        row: Row = {"method": name, "prompts": settings.prompts}
        row["early"], row["late"] = (
            statistics.median(some) for some in (seconds[:part], seconds[-part:])
        )
        row["grown_mib"] = peak_mib() - before
        rows.append(row)
    columns = [
        Column("method", "method"),
        Column("prompts", "prompts", "d"),
        Column("early", "s a prompt, first tenth", ".2f"),
        Column("late", "last tenth", ".2f"),
        Column("grown_mib", "peak grown by MiB", ".0f"),
    ]
    return Table("session: many prompts, each carried", columns, rows)


def box(volume: SliceVolume) -> Box:
    """Around the ellipsoid in the middle slice."""
    (rows, columns) = volume.shape
    return Box(((rows / 3, columns / 3), (rows * 2 / 3, columns * 2 / 3)))


def peak_mib() -> float:
    """The most memory that this process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
