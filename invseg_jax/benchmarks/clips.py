"""Bytes of a training step of the memory network, as the clip of slices grows.

    python -m invseg_jax.benchmark clips
    python -m invseg_jax.benchmark clips --lengths 3 24 --couplings 8

A clip is gone through slice by slice, each with the mask of the slice before, and the gradient goes
back through all of them. So every slice adds what its layers store. Reversible sequences of
couplings store their last activation alone; "remat" stores the first one, and computes the others
anew. The whole training step of `configs/interactive.py` is compiled, both networks together, and
nothing is run.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import jax
from flax import nnx

from invseg_jax.benchmarks.compiled import BUFFERS_ONLY, bytes_of
from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.table import Column, Row, Table
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment, InteractiveSettings
from invseg_jax.interactive.objective import InteractiveObjective, build_networks
from invseg_jax.reversible import Memory

MIB = 2**20
WAYS: tuple[Memory, ...] = ("plain", "remat", "reversible")


@dataclass(frozen=True)
class Settings:
    """The sizes of the table.

    Attributes:
        window: pixels along each side.
        couplings: at each level.
        lengths: slices in a clip.
        channels: at each level.
    """

    window: int
    couplings: int
    lengths: Sequence[int]
    channels: tuple[int, ...] = InteractiveSettings.channels


def defaults(quick: bool) -> Settings:
    """The sizes where no option says otherwise."""
    if quick:
        return Settings(16, 2, (1, 4), (4, 8))
    return Settings(128, 4, (3, 6, 12, 24))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the table's own options."""
    parser.add_argument("--window", type=at_least_one, help="pixels along a side [128; --quick 16]")
    parser.add_argument("--couplings", type=at_least_one, help="at each level [4; --quick 2]")
    parser.add_argument(
        "--lengths", type=at_least_one, nargs="+", help="slices [3 6 12 24; --quick 1 4]"
    )


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """The one table."""
    usual = defaults(options.quick)
    yield table(
        Settings(
            options.window or usual.window,
            options.couplings or usual.couplings,
            tuple(options.lengths or usual.lengths),
            usual.channels,
        )
    )


def table(settings: Settings) -> Table:
    """One row for each length of clip."""
    rows: list[Row] = []
    for length in settings.lengths:
        row: Row = {"length": length}
        for way in WAYS:
            row[way] = bytes_of_step(settings, length, way) / MIB
        row["saved"] = row["plain"] / row["reversible"]
        rows.append(row)
    columns = [Column("length", "slices"), *(Column(way, f"{way} MiB", ".0f") for way in WAYS)]
    return Table(
        f"clips: one clip at {settings.window}^2 pixels, {settings.couplings} couplings a level, "
        f"for {jax.default_backend()}",
        [*columns, Column("saved", "plain / reversible", ".1f")],
        rows,
    )


def bytes_of_step(settings: Settings, length: int, way: Memory) -> int:
    """The temporary bytes of the gradient for one clip.

    Raises:
        UserError: a size that the networks do not take.
    """
    chosen = replace(
        InteractiveSettings(),
        window=settings.window,
        couplings=settings.couplings,
        channels=settings.channels,
        level=min(InteractiveSettings.level, len(settings.channels) - 1),
        asked=length,
        slices=1,
        memory=way,
    )
    experiment = Experiment(task="interactive", interactive=chosen).changed({"data.batch": 1})
    objective = InteractiveObjective.build(experiment)
    networks = jax.eval_shape(lambda: _weights(experiment))
    key = jax.eval_shape(lambda: jax.random.key(0))

    def loss(weights, batch, key):
        return objective.loss(weights, batch, key)[0]

    try:
        lowered = jax.jit(jax.grad(loss)).lower(networks, dict(objective.batch), key)
    except ValueError as error:
        raise UserError(f"clips: {error}") from error
    options = BUFFERS_ONLY if jax.default_backend() == "cpu" else None
    return bytes_of(lowered.compile(options))


def _weights(experiment: Experiment):
    interaction, memory = build_networks(experiment)
    return {"interaction": nnx.split(interaction)[1], "memory": nnx.split(memory)[1]}
