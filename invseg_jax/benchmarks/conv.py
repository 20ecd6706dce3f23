"""The 3x3x3 convolution with both its gradients, beside the compiler's own and PyTorch's.

    python -m invseg_jax.benchmark conv
    python -m invseg_jax.benchmark conv --shapes 48x16 32x32 --batch 1 --repeats 9

As many channels out as in, float32. On CPUs the batch is spread over virtual devices, one a core,
as in training; ours and the compiler's alike. PyTorch, where it is installed, runs in a process of
its own with as many threads as there are cores here.
"""

import argparse
import math
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from invseg_jax.benchmarks import spread
from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.table import Bound, Column, Table
from invseg_jax.benchmarks.timing import Timed, alternate, medians, timed
from invseg_jax.benchmarks.worker import Worker
from invseg_jax.devices.virtual_devices import cores
from invseg_jax.layers.conv import conv3x3x3

SHAPES = ((48, 16), (32, 32), (24, 64))  # voxels along an edge, channels
COLUMNS = (
    Column("shape", "voxels x channels"),
    Column("ours_ms", "ours ms", ".1f"),
    Column("compiler_ms", "lax ms", ".1f"),
    Column("torch_ms", "torch ms", ".1f"),
    Column("ours_gflops", "ours GFLOP/s", ".1f"),
    Column("compiler_gflops", "lax GFLOP/s", ".1f"),
    Column("torch_gflops", "torch GFLOP/s", ".1f"),
    Column("speedup", "ours / lax", ".2f"),
    Column("to_torch", "torch / ours", ".2f"),
)


def parse_shape(text: str) -> tuple[int, int]:
    """Reads "48x16"."""
    try:
        size, channels = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form VOXELSxCHANNELS, such as 48x16"
        ) from None
    if min(size, channels) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: both numbers must be at least 1")
    return size, channels


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the table's own options."""
    parser.add_argument("--shapes", type=parse_shape, nargs="+", metavar="VOXELSxCHANNELS")
    parser.add_argument("--batch", type=at_least_one, default=2, help="examples [2]")
    parser.add_argument("--repeats", type=at_least_one, help="rounds [7; --quick 2]")


def prepare(options: argparse.Namespace) -> None:
    """Before JAX looks for devices: a core for each of them."""
    spread.prepare(options.batch, cores())


def lax_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """What one would write without this package; a kernel (3, 3, 3, in, out)."""
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=numbers)


def forward_and_gradients(conv, x: jax.Array, kernel: jax.Array, dy: jax.Array):
    """y, dx and dkernel."""
    y, transpose = jax.vjp(conv, x, kernel)
    return y, *transpose(dy)


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """One row a shape, and the geometric means."""
    shapes = options.shapes or (((6, 4), (5, 2)) if options.quick else SHAPES)
    repeats = options.repeats or (2 if options.quick else 7)
    title = f"3x3x3 convolution: forward and both gradients, a batch of {options.batch}"
    table = Table(title, COLUMNS)
    with_torch = find_spec("torch") is not None
    for size, channels in shapes:
        table.rows.append(measure(size, channels, options.batch, repeats, with_torch))
    on_cpu = jax.default_backend() == "cpu"
    if not on_cpu:
        table.notes.append("On this platform our convolution is the compiler's own.")
    faster = _mean([row["speedup"] for row in table.rows])
    name = "geometric mean of ours / lax"
    if on_cpu:
        table.bounds.append(Bound(name, faster, 3.5, at_most=False))
    else:
        table.notes.append(f"{name}: {faster:.2f}")
    if with_torch:
        behind = _mean([row["to_torch"] for row in table.rows])
        table.bounds.append(Bound("geometric mean of torch / ours", behind, 2.0))
    else:
        table.notes.append("PyTorch is not installed: pip install 'invseg_jax[benchmarks]'")
    yield table


def measure(size: int, channels: int, batch: int, repeats: int, with_torch: bool) -> dict:
    """The row of one shape."""
    rng = np.random.default_rng(0)
    x, dy = (
        jnp.asarray(rng.standard_normal((batch, size, size, size, channels)), jnp.float32)
        for _ in range(2)
    )
    kernel = jnp.asarray(0.1 * rng.standard_normal((3, 3, 3, channels, channels)), jnp.float32)
    ours = jax.jit(partial(forward_and_gradients, conv3x3x3))
    compiler = jax.jit(partial(forward_and_gradients, lax_conv))
    # Ours keeps a kernel as (height, width, in, depth, out).
    both = (kernel, kernel.transpose(1, 2, 3, 0, 4))
    (kernel, own_kernel), x = spread.place(both, x)
    _, dy = spread.place((), dy)
    candidates: dict[str, Timed] = {
        "ours": timed(ours, x, own_kernel, dy),
        "compiler": timed(compiler, x, kernel, dy),
    }
    with ExitStack() as stack:
        if with_torch:
            settings = dict(size=size, channels=channels, batch=batch, threads=cores())
            function = "invseg_jax.benchmarks.torch_worker:convolution"
            worker = stack.enter_context(Worker(function, settings))
            candidates["torch"] = lambda: worker.number("step")
        seconds = medians(alternate(candidates, repeats))
    # Two operations a product and sum, 27 taps, three passes of equal size.
    operations = 3 * 2 * 27 * channels**2 * batch * size**3
    row: dict = {"shape": f"{size}^3 x {channels}"}
    for name, value in seconds.items():
        row[f"{name}_ms"] = 1e3 * value
        row[f"{name}_gflops"] = operations / value / 1e9
    row["speedup"] = seconds["compiler"] / seconds["ours"]
    if with_torch:
        row["to_torch"] = seconds["ours"] / seconds["torch"]
    return row


def _mean(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))
