"""How far the reconstructed input, and the gradient, are off after many couplings.

    python -m invseg_jax.benchmark drift
    python -m invseg_jax.benchmark drift --size 16 --depths 4 16

For a chain of couplings and for FullInvRes with its learned changes of resolution; a stream in
float32 or in fixed point, branches that compute in float32 or bfloat16. Both errors are relative
norms: of the input that the inverse gives back, to the input that went in; and of the gradient of
all parameters, to that of plain autodiff of the same function (with a fixed-point stream, the
derivative of its rounding taken as 1). In fixed point the first is zero, not small.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import ArrayLike

from invseg_jax.benchmarks.alternatives import Way
from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.subjects import Kind, Subject
from invseg_jax.benchmarks.table import Bound, Column, Row, Table
from invseg_jax.errors import UserError
from invseg_jax.layers.execution import Execution, Precision, StreamFormat
from invseg_jax.reversible.layer import PyTree

COLUMNS = (
    Column("couplings", "couplings"),
    Column("stream", "stream"),
    Column("precision", "branches"),
    Column("input_error", "input", ".1e"),
    Column("gradient_error", "gradient", ".1e"),
    Column("exact", "bits that differ", ",d"),
)
STREAMS: tuple[StreamFormat, ...] = ("float32", "fixed")
GRADIENT_LIMITS: dict[Precision, float] = {"float32": 1e-5, "bfloat16": 1e-3}
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the tables' own options."""
    parser.add_argument("--size", type=at_least_one, help="voxels along an edge [12; --quick 4]")
    parser.add_argument("--depths", type=at_least_one, nargs="+", help="[4 16 64 256; --quick 2 3]")
    parser.add_argument(
        "--subjects", nargs="+", choices=("chain", "network"), default=("chain", "network")
    )


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """One table for the chain, one for FullInvRes."""
    quick = options.quick
    size = options.size or (4 if quick else 12)
    depths = options.depths or ((2, 3) if quick else (4, 16, 64, 256))
    kinds: dict[str, tuple[Kind, tuple[int, ...]]] = {
        "chain": ("chain", (4,) if quick else (32,)),
        "network": ("FullInvRes", (4, 8) if quick else (32, 64)),
    }
    for name in options.subjects:
        kind, channels = kinds[name]
        if kind == "FullInvRes" and size % 2:
            raise UserError(f"--size {size}: FullInvRes halves it; give an even number")
        yield table([Subject(kind, size, channels, depth) for depth in depths])


def table(subjects: list[Subject]) -> Table:
    """One row for each depth, stream and precision."""
    rows = [
        measure(subject, stream, precision)
        for subject in subjects
        for stream in STREAMS
        for precision in PRECISIONS
    ]
    first = subjects[0]
    where = "" if first.kind == "chain" else " a level and side"
    fixed = [row for row in rows if row["stream"] == "fixed"]
    worst = max(row["input_error"] for row in fixed)
    bounds = [Bound("greatest error of the input in fixed point", worst, 0.0, form=".1e")]
    for precision, limit in GRADIENT_LIMITS.items():
        worst = max(row["gradient_error"] for row in fixed if row["precision"] == precision)
        bounds.append(Bound(f"of the gradient, branches in {precision}", worst, limit, form=".1e"))
    return Table(
        f"{first.kind}: relative errors at {first.size}^3 voxels x "
        f"{'-'.join(map(str, first.channels))} channels, by couplings{where}",
        COLUMNS,
        rows=rows,
        notes=["input: reconstructed from the output; gradient: against plain autodiff."],
        bounds=bounds,
    )


def measure(subject: Subject, stream: StreamFormat, precision: Precision) -> Row:
    """The errors of one subject. All is compiled as loops: 256 couplings written out take hours."""
    how: dict[str, Any] = {"stream": stream, "precision": precision, "loop": "scan"}
    program = subject.build(Way(Execution(memory="reversible", **how)))
    plain = subject.build(Way(Execution(memory="plain", **how)))
    x = program.input()
    trunk = program.model if subject.kind == "chain" else program.model.trunk

    # The trunk's own input: an image is one channel, and what enters the trunk are many.
    shape = (*program.shape[:-1], subject.channels[0])
    entered = jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)
    arithmetic = trunk.execution.arithmetic
    # What a fixed-point stream can hold is what is to come back.
    entered = arithmetic.decode(arithmetic.encode(entered))
    forward = jax.jit(lambda trunk, x: trunk(x)[0])
    inverse = jax.jit(lambda trunk, y: trunk.inverse(y))
    returned = inverse(trunk, forward(trunk, entered))

    _, (got, *_) = program.lower().compile()(program.model, x)
    _, (wanted, *_) = plain.lower().compile()(plain.model, x)
    return {
        "couplings": subject.couplings,
        "stream": stream,
        "precision": precision,
        "input_error": relative_error(returned, entered),
        "gradient_error": relative_error(_flat(got), _flat(wanted)),
        "exact": int((np.asarray(returned) != np.asarray(entered)).sum()),
    }


def relative_error(got: ArrayLike, wanted: ArrayLike) -> float:
    """The norm of the difference over the norm of what is wanted."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


def _flat(gradient: PyTree) -> np.ndarray:
    leaves = jax.tree.leaves(nnx.state(gradient, nnx.Param))
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in leaves])
