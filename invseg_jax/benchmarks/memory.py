"""Bytes that a compiled gradient sets aside as the depth grows, beside the other ways to get it.

    python -m invseg_jax.benchmark memory
    python -m invseg_jax.benchmark memory --platform tpu-v5e --depths 2 8
    python -m invseg_jax.benchmark memory --network-size 96 --channels 32 64 128

The figures are the compiler's own, of its temporary buffers: nothing is run for them, and
--platform takes a TPU that is not there. All candidates are written alike, as loops over the
couplings: from a network that is written out, the compiler for CPUs removes the rematerialisation.
On GPUs and TPUs at hand, each is run as well, and the most that the allocator gave out is reported.

Two subjects: the couplings of one level alone, those of both sides in a chain, and the whole of
FullInvRes. Depths are couplings a level and side.

plain and remat are what one would write without this package: branches of ordinary layers, each
differentiated by JAX, the second with a checkpoint around every coupling. sqrt-remat has
checkpoints around groups of about sqrt(depth) couplings (Chen et al. 2016), the best of several
sizes. "our branches" keep their input alone.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace

import jax

from invseg_jax.benchmarks import slabs
from invseg_jax.benchmarks.alternatives import Way, groups_near_root
from invseg_jax.benchmarks.compiled import peak_of_run, temporary_bytes
from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.subjects import Subject
from invseg_jax.benchmarks.table import Bound, Column, Row, Table
from invseg_jax.benchmarks.worker import WorkerError, reason
from invseg_jax.devices.device import Device
from invseg_jax.devices.topology import TPU_TOPOLOGIES, tpu_devices
from invseg_jax.errors import UserError
from invseg_jax.files.json_values import JsonObject
from invseg_jax.layers.execution import Execution, Precision

MIB = 2**20
SQRT = "sqrt-remat"
REVERSIBLE = "reversible"
# cetmann/iunets, README.rst: a 3-D network of theirs, GB by couplings.
PUBLISHED = ((5, 3.17, 0.85), (10, 5.90, 1.09), (20, 11.4, 1.57), (30, 16.8, 2.06))


# By name, the arguments of `Execution`, and whether the branches are ordinary layers.
CANDIDATES: dict[str, tuple[JsonObject, bool]] = {
    "plain": ({"memory": "plain"}, True),
    "remat": ({"memory": "remat"}, True),
    SQRT: ({"memory": "plain"}, True),
    "plain, our branches": ({"memory": "plain"}, False),
    REVERSIBLE: ({"memory": "reversible"}, False),
    "reversible, fixed": ({"memory": "reversible", "stream": "fixed"}, False),
}
# The most that reversible may take of the others' bytes at the greatest depth, and may grow.
SHARES = {"plain": 0.05, "remat": 0.12, SQRT: 0.40}
GROWTH = 0.02


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the tables' own options."""
    parser.add_argument(
        "--platform",
        choices=("here", *TPU_TOPOLOGIES),
        default="here",
        help="compile for the devices here, or for a TPU that need not be here [here]",
    )
    parser.add_argument("--depths", type=at_least_one, nargs="+", help="[2 8 30; --quick 1 2]")
    parser.add_argument(
        "--subjects",
        nargs="+",
        choices=("chain", "network", "slabs"),
        default=("chain", "network", "slabs"),
        help="which tables [all]",
    )
    parser.add_argument(
        "--chain-size",
        type=at_least_one,
        help="of the chain [32 on CPUs, else 64; --quick 6], and in the table of the slabs [64]",
    )
    parser.add_argument("--chain-channels", type=at_least_one, help="[32; --quick 4]")
    parser.add_argument(
        "--network-size", type=at_least_one, help="voxels along an edge [64; --quick 8]"
    )
    parser.add_argument(
        "--channels",
        type=at_least_one,
        nargs="+",
        help="of the network [32 64 128 256; --quick 4 8]",
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="[float32]"
    )


def prepare(options: argparse.Namespace) -> None:
    """Before JAX looks for devices: a TPU that is not there is not looked for."""
    if options.platform != "here":
        jax.config.update("jax_platforms", "cpu")


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """One table a subject, iUNets' own figures, and the table of the slabs."""
    quick = options.quick
    depths = sorted(options.depths or ((1, 2) if quick else (2, 8, 30)))
    device = None if options.platform == "here" else tpu_devices(options.platform)[0]
    # Smaller volumes fit into the memory inside of an accelerator's chip.
    on_cpu = device is None and jax.default_backend() == "cpu"
    chain = (
        options.chain_size or (6 if quick else 32 if on_cpu else 64),
        (options.chain_channels or (4 if quick else 32),),
    )
    network = (
        options.network_size or (8 if quick else 64),
        tuple(options.channels or ((4, 8) if quick else (32, 64, 128, 256))),
    )
    asked = {
        kind: subject
        for kind, subject in (("chain", chain), ("network", network))
        if kind in options.subjects
    }
    for kind, (_, channels) in asked.items():  # before anything is measured
        if odd := [count for count in channels if count % 2]:
            raise UserError(
                f"{kind}: of {odd[0]} channels the halves differ, and couplings that differ "
                "are no loop; give even numbers"
            )
    for kind, (size, channels) in asked.items():
        name = "FullInvRes" if kind == "network" else "chain"
        sides = 2 if kind == "chain" else 1
        subjects = {depth: Subject(name, size, channels, sides * depth) for depth in depths}
        try:
            yield by_depth(subjects, options.precision, device)
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
    if asked:
        yield published()
    if "slabs" in options.subjects:
        settings = slabs.defaults(quick)
        yield slabs.table(replace(settings, size=options.chain_size or settings.size), device)


def by_depth(subjects: Mapping[int, Subject], precision: Precision, device: Device | None) -> Table:
    """The bytes of each candidate at each depth.

    Args:
        subjects: by depth, rising; alike but for that.
        precision: of the convolutions' factors.
        device: a device that need not be here, or None for the default one.
    """
    depths = list(subjects)
    deepest = subjects[depths[-1]]
    platform = device.platform if device is not None else jax.default_backend()
    run = device is None and platform != "cpu"
    columns = [
        Column("candidate", "gradient"),
        *(Column(f"mib_{depth}", f"{depth}: MiB", ".1f") for depth in depths),
        Column("activations", "activations", ".1f"),
        Column("growth", "growth", ".1%"),
        Column("share", "reversible / it", ".1%"),
        Column("peak_mib", "peak MiB", ".1f"),
        Column("remark", "remark"),
    ]
    table = Table(
        f"{deepest.kind}: temporary bytes of one gradient at {deepest.size}^3 voxels x "
        f"{'-'.join(map(str, deepest.channels))} channels, {precision}, by couplings a level and "
        f"side, for {platform}",
        columns,
        notes=[
            f"An activation is {deepest.activation / MIB:.3g} MiB, at the finest level. "
            f"activations and the share are at {depths[-1]} couplings, growth is from {depths[0]}.",
            f"The parameters are {subjects[depths[0]].parameters / MIB:.3g} MiB at {depths[0]} and "
            f"{deepest.parameters / MIB:.3g} MiB at {depths[-1]} couplings; they are no temporary "
            "bytes.",
        ],
    )
    for name, (settings, ordinary) in CANDIDATES.items():
        way = Way(Execution(**settings, loop="scan", precision=precision), ordinary)
        row: Row = {"candidate": name}
        for depth, subject in subjects.items():
            ways = [way]
            if name == SQRT:
                ways = [replace(way, group=group) for group in groups_near_root(subject.couplings)]
            try:
                sizes = [temporary_bytes(subject, candidate, device) for candidate in ways]
            except jax.errors.JaxRuntimeError as error:
                # A TPU's compiler refuses what its memory cannot hold: that is a result.
                row["remark"] = f"{depth}: {reason(error)}"
                break
            row[f"mib_{depth}"] = min(sizes) / MIB
            best = ways[sizes.index(min(sizes))]
        table.rows.append(row)
        if "remark" in row:
            continue
        last, before = row[f"mib_{depths[-1]}"], row[f"mib_{depths[0]}"]
        row["activations"] = last * MIB / deepest.activation
        # A small program for a TPU has none: all of it lies inside the chip.
        row["growth"] = last / before - 1 if before else None
        if best.group is not None:
            inner = " and of one" if best.group.inner else ""
            row["remark"] = f"checkpoints of {best.group.size}{inner}"
        if run:
            try:
                row["peak_mib"] = peak_of_run(deepest, best) / MIB
            except WorkerError as error:
                row["remark"] = str(error)
    _judge(table, f"mib_{depths[-1]}")
    return table


def _judge(table: Table, key: str) -> None:
    """Adds the shares, and the bounds of each reversible one."""
    rows = {row["candidate"]: row for row in table.rows if key in row}
    for row in rows.values():
        row["share"] = rows[REVERSIBLE][key] / row[key] if row[key] and REVERSIBLE in rows else None
    for name, row in rows.items():
        if not name.startswith(REVERSIBLE):
            continue
        figures = [(f"growth of {name}", row["growth"], GROWTH)]
        for other, share in SHARES.items():
            value = row[key] / rows[other][key] if other in rows and rows[other][key] else None
            figures.append((f"{name} / {other}", value, share))
        table.bounds += [
            Bound(what, value, limit, form=".1%")
            for what, value, limit in figures
            if value is not None
        ]


def published() -> Table:
    """The sweep of iUNets as its authors give it."""
    return Table(
        "Published, not measured here: memory of a 3-D iUNet (cetmann/iunets, README.rst)",
        [
            Column("couplings", "couplings"),
            Column("conventional_gb", "conventional GB", ".2f"),
            Column("invertible_gb", "invertible GB", ".2f"),
            Column("share", "invertible / conventional", ".1%"),
            Column("growth", "growth of invertible", ".0%"),
        ],
        rows=[
            {
                "couplings": depth,
                "conventional_gb": conventional,
                "invertible_gb": invertible,
                "share": invertible / conventional,
                "growth": invertible / PUBLISHED[0][2] - 1,
            }
            for depth, conventional, invertible in PUBLISHED
        ],
    )
