"""Bytes and time of couplings whose branches are evaluated in slabs along the depth of the volume.

    python -m invseg_jax.benchmark slabs
    python -m invseg_jax.benchmark slabs --size 96 --channels 16 --slabs 1 4 16

A chain of reversible couplings at one level. Its memory does not grow with its length; what is left
is the floor: the stream, its cotangent, and what one branch keeps for its own gradient.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax

from invseg_jax.benchmarks.alternatives import Way
from invseg_jax.benchmarks.compiled import bytes_of, peak_of_run
from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.subjects import Subject
from invseg_jax.benchmarks.table import Bound, Column, Row, Table
from invseg_jax.benchmarks.timing import alternate, medians, timed
from invseg_jax.benchmarks.worker import WorkerError
from invseg_jax.devices.device import Device
from invseg_jax.errors import UserError
from invseg_jax.layers.execution import Execution

MIB = 2**20
FLOOR = 4.0  # activations


@dataclass(frozen=True)
class Settings:
    """The sizes of the table.

    Attributes:
        size: voxels along an edge.
        channels: of the chain.
        couplings: its length.
        slabs: the numbers of pieces.
        repeats: rounds of timing.
    """

    size: int
    channels: int
    couplings: int
    slabs: Sequence[int]
    repeats: int


def defaults(quick: bool) -> Settings:
    """The sizes where no option says otherwise."""
    if quick:
        return Settings(8, 4, 2, (1, 2), 1)
    return Settings(64, 32, 4, (1, 2, 4, 8), 3)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the table's own options."""
    parser.add_argument("--size", type=at_least_one, help="voxels along an edge [64; --quick 8]")
    parser.add_argument("--channels", type=at_least_one, help="[32; --quick 4]")
    parser.add_argument("--couplings", type=at_least_one, help="[4; --quick 2]")
    parser.add_argument("--slabs", type=at_least_one, nargs="+", help="[1 2 4 8; --quick 1 2]")
    parser.add_argument("--repeats", type=at_least_one, help="rounds [3; --quick 1]")


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """The one table."""
    usual = defaults(options.quick)
    settings = Settings(
        options.size or usual.size,
        options.channels or usual.channels,
        options.couplings or usual.couplings,
        tuple(options.slabs or usual.slabs),
        options.repeats or usual.repeats,
    )
    try:
        yield table(settings, None)
    except ValueError as error:
        raise UserError(f"chain: {error}") from error


def table(settings: Settings, device: Device | None) -> Table:
    """One row for each number of slabs and kind of stream; times where it can be run."""
    subject = Subject("chain", settings.size, (settings.channels,), settings.couplings)
    platform = device.platform if device is not None else jax.default_backend()
    rows: list[Row] = []
    runs = {}
    for stream in ("float32", "fixed"):
        for pieces in settings.slabs:
            way = Way(Execution(stream=stream, slabs=pieces))
            program = subject.build(way)
            compiled = program.lower(device).compile()
            size = bytes_of(compiled)
            row = {"stream": stream, "slabs": pieces, "mib": size / MIB}
            row["activations"] = size / subject.activation
            if device is None and platform != "cpu":
                try:
                    row["peak_mib"] = peak_of_run(subject, way) / MIB
                except WorkerError as error:
                    row["remark"] = str(error)
            if device is None:
                name = f"{stream} {pieces}"
                runs[name] = timed(compiled, program.model, program.input())
            rows.append(row)
    seconds = medians(alternate(runs, settings.repeats))
    for row in rows:
        row["seconds"] = seconds.get(f"{row['stream']} {row['slabs']}")
        whole = next(other for other in rows if other["stream"] == row["stream"])
        row["ratio"] = row["seconds"] and row["seconds"] / whole["seconds"]
    made = Table(
        f"slabs: {settings.couplings} reversible couplings at {settings.size}^3 voxels x "
        f"{settings.channels} channels, for {platform}",
        [
            Column("stream", "stream"),
            Column("slabs", "slabs"),
            Column("mib", "MiB", ".1f"),
            Column("activations", "activations", ".2f"),
            Column("peak_mib", "peak MiB", ".1f"),
            Column("seconds", "step s", ".3f"),
            Column("ratio", f"time / {settings.slabs[0]} slab", ".2f"),
            Column("remark", "remark"),
        ],
        rows=rows,
        notes=[f"An activation is {subject.activation / MIB:.3g} MiB."],
    )
    for stream in ("float32", "fixed"):
        floor = min(row["activations"] for row in rows if row["stream"] == stream)
        made.bounds.append(Bound(f"floor of {stream}, in activations", floor, FLOOR))
    return made
