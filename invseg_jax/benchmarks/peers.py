"""The same invertible U-Net in iunets and in memcnn (PyTorch), and here: peak memory and time.

    python -m invseg_jax.benchmark peers
    python -m invseg_jax.benchmark peers --size 96 --batch 1

Needs the packages of pip install 'invseg_jax[benchmarks]'. Couplings of GroupNorm, leaky ReLU and a
3x3x3 convolution, as many a level and side in all three; iunets has learned resampling as ours,
memcnn a fixed squeeze. Each runs in a process of its own, with as many threads as there are cores,
and they take turns.

On a CPU, memory is what the process has resident: before (imported, and a small network of the same
kind has run), and at its peak. On a GPU it is what the framework's allocator gave out. Ours finds
its program in a compilation cache, as every start of a training but the first. Beside it stand what
the compiler says the program takes on one device (each has a part of the batch), and the peak of
the process that compiled it.
"""

import argparse
from collections.abc import Iterator
from importlib.util import find_spec

from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.processes import JAX, TORCH, in_processes
from invseg_jax.benchmarks.table import Bound, Column, Table
from invseg_jax.devices.virtual_devices import cores
from invseg_jax.errors import UserError

PACKAGES = ("torch", "iunets", "memcnn")
OURS = "ours"
COLUMNS = (
    Column("network", "network"),
    Column("parameters", "parameters", ",d"),
    Column("before_mib", "before MiB", ".0f"),
    Column("peak_mib", "peak MiB", ".0f"),
    Column("grown_mib", "peak - before", ".0f"),
    Column("seconds", "step s", ".3f"),
    Column("peak_ratio", "peak / ours", ".2f"),
    Column("grown_ratio", "grown / ours", ".2f"),
    Column("time_ratio", "time / ours", ".2f"),
    Column("compiled_mib", "program MiB", ".0f"),
    Column("compiling_mib", "compiling MiB", ".0f"),
    Column("remark", "remark"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the table's own options."""
    parser.add_argument("--size", type=at_least_one, help="voxels along an edge [64; --quick 8]")
    parser.add_argument("--batch", type=at_least_one, help="examples [2]", default=2)
    parser.add_argument(
        "--couplings", type=at_least_one, default=6, help="a level and side, even [6]"
    )
    parser.add_argument("--repeats", type=at_least_one, help="rounds [5; --quick 1]")


def missing_packages() -> list[str]:
    """Which of the other libraries are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """One table with a row a library."""
    if missing := missing_packages():
        raise UserError(
            f"not installed: {', '.join(missing)}; pip install 'invseg_jax[benchmarks]'"
        )
    size = options.size or (8 if options.quick else 64)
    channels = (8, 16) if options.quick else (32, 64, 128, 256)
    couplings = options.couplings
    if couplings < 2 or couplings % 2:
        raise UserError(f"--couplings {couplings}: memcnn has them in pairs; give an even number")
    if size % 2 ** (len(channels) - 1):
        raise UserError(f"--size {size} must be a multiple of {2 ** (len(channels) - 1)}")
    common = {
        "shape": (options.batch, size, size, size),
        "modalities": 1,
        "classes": 3,
        "threads": cores(),
    }
    theirs = {"channels": channels, "couplings": couplings, "groups": 8, "reversible": True}
    # Theirs have couplings on both sides of the coarsest level, ours has them there once.
    counts = [couplings] * (len(channels) - 1) + [2 * couplings]
    network = {"channels": channels, "couplings": counts, "groups": 8}
    ours = {"name": "FullInvRes", "network": network}
    candidates = {
        OURS: (JAX, common | ours | {"execution": {}}),
        "ours, fixed": (JAX, common | ours | {"execution": {"stream": "fixed"}}),
        "iunets": (TORCH, common | theirs | {"library": "iunets"}),
        "memcnn": (TORCH, common | theirs | {"library": "memcnn"}),
    }
    repeats = options.repeats or (1 if options.quick else 5)
    table = Table(
        f"The invertible U-Net, {couplings} couplings a level and side, channels "
        f"{'-'.join(map(str, channels))}, input {options.batch} x {size}^3",
        COLUMNS,
        rows=in_processes(candidates, repeats, reference=OURS),
    )
    rows = {row["network"]: row for row in table.rows}
    for name in ("iunets", "memcnn"):
        for key, what in (
            ("peak_ratio", "peak"),
            ("grown_ratio", "peak - before"),
            ("time_ratio", "time"),
        ):
            if rows[name].get(key) is not None:
                text = f"{what} of {name} / ours"
                table.bounds.append(Bound(text, rows[name][key], 1.0, at_most=False))
    yield table
