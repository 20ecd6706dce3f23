"""Whole brain volumes at full width: peak memory and time of one gradient, PyTorch beside it.

    python -m invseg_jax.benchmark volume
    python -m invseg_jax.benchmark volume --precision bfloat16 --networks full --couplings 8

Four modalities of 240 x 240 x 155 voxels, padded inside the network, batch 1. Two networks: the
partially reversible U-Net of Brügger et al. 2019 (channels 60-120-240-360-480, as in
configs/brugger.py) beside the same in PyTorch with memcnn, and FullInvRes of that width
(60-120-240-480) beside iunets. Each gradient is also taken the ordinary way, in both frameworks:
ours with its own branches, which evaluate norm, activation and convolution in one.

Each runs in a process of its own, one after the other, and may run out of memory: that is a result.
On GPUs the peak is what the framework's allocator gave out, on CPUs what the process has resident.
Ours finds its program in a compilation cache; beside it stand what the compiler says the program
takes, and the peak of the process that compiled it.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.peers import missing_packages
from invseg_jax.benchmarks.processes import JAX, TORCH, Candidates, in_processes
from invseg_jax.benchmarks.table import Column, Table
from invseg_jax.devices.virtual_devices import cores
from invseg_jax.errors import UserError
from invseg_jax.files.json_values import JsonObject

OURS = "ours, reversible"
WAYS: dict[str, JsonObject] = {
    OURS: {"memory": "reversible"},
    "ours, reversible, fixed": {"memory": "reversible", "stream": "fixed"},
    "ours, remat": {"memory": "remat"},
    "ours, plain": {"memory": "plain"},
}
COLUMNS = (
    Column("network", "gradient"),
    Column("parameters", "parameters", ",d"),
    Column("compiled_mib", "compiled MiB", ".0f"),
    Column("peak_mib", "peak MiB", ".0f"),
    Column("grown_mib", "peak - before", ".0f"),
    Column("seconds", "step s", ".3f"),
    Column("peak_ratio", "peak / ours", ".2f"),
    Column("time_ratio", "time / ours", ".2f"),
    Column("compiling_mib", "compiling MiB", ".0f"),
    Column("remark", "remark"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the tables' own options."""
    parser.add_argument(
        "--size",
        type=at_least_one,
        nargs=3,
        help="voxels [240 240 155; --quick 9 8 10]",
        metavar="VOXELS",
    )
    parser.add_argument(
        "--couplings", type=at_least_one, default=2, help="a level and side, even [2]"
    )
    parser.add_argument("--slabs", type=at_least_one, default=1, help="of ours, see `slabs` [1]")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="of ours [float32]"
    )
    parser.add_argument(
        "--networks", nargs="+", choices=("partial", "full"), default=("partial", "full")
    )
    parser.add_argument("--repeats", type=at_least_one, help="rounds [5; --quick 1]")


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """One table for each network."""
    if options.couplings < 2 or options.couplings % 2:
        raise UserError(f"--couplings {options.couplings}: memcnn has pairs; give an even number")
    with_torch = not missing_packages()
    for network in options.networks:
        yield table(network, options, with_torch)


def table(network: str, options: argparse.Namespace, with_torch: bool) -> Table:
    """One row for each way to the gradient and each library."""
    partial = network == "partial"
    channels = (60, 120, 240, 360, 480) if partial else (60, 120, 240, 480)
    if options.quick:
        channels = (4, 8)
    size = tuple(options.size or ((9, 8, 10) if options.quick else (240, 240, 155)))
    rows = in_processes(
        _candidates(network, channels, size, options, with_torch),
        options.repeats or (1 if options.quick else 5),
        reference=OURS,
        together=False,
        report=lambda name: print(f"{network}: {name} ...", file=sys.stderr, flush=True),
    )
    notes = [] if with_torch else ["PyTorch: pip install 'invseg_jax[benchmarks]'"]
    return Table(
        f"{'PartialInvRes' if partial else 'FullInvRes'}, channels "
        f"{'-'.join(map(str, channels))}, {options.couplings} couplings a level and side: "
        f"4 x {' x '.join(map(str, size))} voxels; ours in {options.precision}, PyTorch in float32",
        COLUMNS,
        rows=rows,
        notes=notes,
    )


def _candidates(
    network: str,
    channels: Sequence[int],
    size: Sequence[int],
    options: argparse.Namespace,
    with_torch: bool,
) -> Candidates:
    groups = 1 if options.quick else 30
    common = {"shape": (1, *size), "modalities": 4, "classes": 3, "threads": cores()}
    settings: JsonObject = {"channels": channels, "groups": groups}
    if network == "partial":
        name = "PartialInvRes"
        settings |= {
            "couplings": options.couplings,
            "decoder_couplings": options.couplings,
            "activate_head": False,
        }
    else:
        name = "FullInvRes"
        # iunets has couplings on both sides of the coarsest level, ours has them there once.
        counts = [options.couplings] * (len(channels) - 1) + [2 * options.couplings]
        settings |= {"couplings": counts}
    ours = common | {"name": name, "network": settings}
    candidates: dict[str, tuple[str, JsonObject]] = {}
    for way, how in WAYS.items():
        execution = how | {"slabs": options.slabs, "precision": options.precision}
        candidates[way] = (JAX, ours | {"execution": execution})
    if with_torch:
        library = "memcnn-partial" if network == "partial" else "iunets"
        theirs = common | {"channels": channels, "couplings": options.couplings, "groups": groups}
        for title, reversible in (
            (library.partition("-")[0], True),
            ("plain PyTorch", False),
        ):
            candidates[title] = (TORCH, theirs | {"library": library, "reversible": reversible})
    return candidates
