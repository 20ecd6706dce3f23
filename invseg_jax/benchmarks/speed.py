"""Time of one gradient of FullInvRes: plain, per-block remat, reversible, reversible fixed-point.

    python -m invseg_jax.benchmark speed
    python -m invseg_jax.benchmark speed --size 64 --couplings 8 --loops scan

plain and remat have branches of ordinary layers, each differentiated by JAX, the second with a
checkpoint around every coupling, and our convolution, which is faster on CPUs; "lax" has the
compiler's own, as `flax.nnx.Conv` has it, and is what one would write without this package. "our
branches" evaluate norm, activation and convolution in one.

The candidates are one network, written one way: all out, or all as loops over the couplings. On
CPUs both ways are measured: from a network that is written out the compiler removes the
rematerialisation, and `remat` is then `plain` by another name. There the batch is spread over
virtual devices, one a core, as in training.

A branch that ends in a convolution needs no second evaluation of that for its gradient, only for
its value: remat leaves it out, the reconstruction cannot. Of a convolution's matrix products remat
does three a step, reversible four.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import jax

from invseg_jax.benchmarks import spread
from invseg_jax.benchmarks.alternatives import Way
from invseg_jax.benchmarks.compiled import bytes_of
from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.subjects import Subject
from invseg_jax.benchmarks.table import Bound, Column, Table
from invseg_jax.benchmarks.timing import alternate, medians, timed
from invseg_jax.devices.virtual_devices import cores
from invseg_jax.errors import UserError
from invseg_jax.layers.execution import Execution, Loop, Precision

MIB = 2**20
REMAT_LAX = "remat, lax"
CANDIDATES = {
    "plain": Way(Execution(memory="plain"), ordinary=True),
    "remat": Way(Execution(memory="remat"), ordinary=True),
    REMAT_LAX: Way(Execution(memory="remat"), ordinary=True, lax_conv=True),
    "plain, our branches": Way(Execution(memory="plain")),
    "reversible": Way(Execution(memory="reversible")),
    "reversible, fixed": Way(Execution(memory="reversible", stream="fixed")),
}
# Of the time of plain.
LIMITS = {"reversible": 1.40, "reversible, fixed": 1.50}
LOOPS = {"unrolled": "written out", "scan": "as loops"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the tables' own options."""
    parser.add_argument("--size", type=at_least_one, help="voxels along an edge [48; --quick 8]")
    parser.add_argument(
        "--channels",
        type=at_least_one,
        nargs="+",
        help="of each level [32 64 128 256; --quick 4 8]",
    )
    parser.add_argument("--couplings", type=at_least_one, help="a level and side [4; --quick 1]")
    parser.add_argument(
        "--loops", nargs="+", choices=tuple(LOOPS), help="[both on CPUs, scan elsewhere]"
    )
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="float32", help="[float32]"
    )
    parser.add_argument("--batch", type=at_least_one, default=2, help="examples [2]")
    parser.add_argument("--repeats", type=at_least_one, help="rounds [5; --quick 1]")


def prepare(options: argparse.Namespace) -> None:
    """Before JAX looks for devices: a core for each of them."""
    spread.prepare(options.batch, cores())


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """One table for each way to write the network."""
    quick, on_cpu = options.quick, jax.default_backend() == "cpu"
    subject = Subject(
        "FullInvRes",
        options.size or (8 if quick else 48),
        tuple(options.channels or ((4, 8) if quick else (32, 64, 128, 256))),
        options.couplings or (1 if quick else 4),
    )
    repeats = options.repeats or (1 if quick else 5)
    for loop in options.loops or (("unrolled", "scan") if on_cpu else ("scan",)):
        try:
            yield table(subject, loop, options.precision, options.batch, repeats)
        except ValueError as error:
            raise UserError(f"FullInvRes: {error}") from error


def table(subject: Subject, loop: Loop, precision: Precision, batch: int, repeats: int) -> Table:
    """Medians of alternating steps, with the temporary bytes beside them."""
    runs, sizes = {}, {}
    for name, way in CANDIDATES.items():
        execution = replace(way.execution, loop=loop, precision=precision)
        program = subject.build(replace(way, execution=execution))
        model, x = spread.place(program.model, program.input(batch))
        compiled = program.jitted().lower(model, x).compile()
        sizes[name] = bytes_of(compiled) / MIB
        runs[name] = timed(compiled, model, x)
    seconds = alternate(runs, repeats)
    median = medians(seconds)
    rows = [
        {
            "candidate": name,
            "seconds": median[name],
            "least": min(seconds[name]),
            "most": max(seconds[name]),
            "to_plain": median[name] / median["plain"],
            "to_remat": median[name] / median["remat"],
            "mib": sizes[name],
        }
        for name in CANDIDATES
    ]
    bounds = []
    for name, limit in LIMITS.items():
        bounds.append(Bound(f"{name} / plain", median[name] / median["plain"], limit))
        for other in ("remat", REMAT_LAX) if loop == "scan" else ():
            bounds.append(Bound(f"{name} / {other}", median[name] / median[other], 1.0))
    return Table(
        f"FullInvRes {LOOPS[loop]}: seconds of one gradient at {batch} x {subject.size}^3 voxels, "
        f"channels {'-'.join(map(str, subject.channels))}, {subject.couplings} couplings a level "
        f"and side, {precision}",
        [
            Column("candidate", "gradient"),
            Column("seconds", "median s", ".3f"),
            Column("least", "least", ".3f"),
            Column("most", "most", ".3f"),
            Column("to_plain", "/ plain", ".2f"),
            Column("to_remat", "/ remat", ".2f"),
            Column("mib", "temporary MiB a device", ".1f"),
        ],
        rows=rows,
        bounds=bounds,
    )
