"""Measures this package beside what one would use instead.

    python -m invseg_jax.benchmark memory
    python -m invseg_jax.benchmark memory --platform tpu-v5e --json memory.json
    python -m invseg_jax.benchmark peers --repeats 5
    python -m invseg_jax.benchmark NAME --help

All candidates of a table are measured in one go, by turns; times are medians. --json also writes
the rows, with the versions and the machine. --quick takes small sizes, to see the whole in seconds.
"""

import argparse
import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from invseg_jax.errors import UserError
from invseg_jax.files.printable import escape_unencodable, printable

# NAME, and what stands in the help. Each is a module in `benchmarks`, or where MODULES says.
BENCHMARKS = {
    "memory": "bytes of one gradient as the depth grows: plain, remat, reversible; then slabs",
    "slabs": "bytes and time of a coupling evaluated in 1 to 8 pieces",
    "speed": "time of one gradient: plain, remat, reversible, fixed-point",
    "drift": "error of the reconstructed input and of the gradient, to 256 couplings",
    "conv": "3x3x3 convolution and its gradients beside the compiler's own and PyTorch's",
    "pipeline": "a training step's wait for data; augmentation in it, and beside SciPy's",
    "startup": "seconds from nothing to the first training step, and with a warm cache",
    "peers": "the same network in iunets and memcnn: peak memory and time",
    "damage": "bits flipped, files cut or edited: what is found, and what is silently wrong",
    "volume": "whole brain volumes at full width: peak memory and time, PyTorch beside it",
    "clips": "bytes of a training step of the memory network, as the clip of slices grows",
    "session": "seconds and memory of interactive segmentation on 512 x 512 x 100 voxels",
}
# Where that is not a file of the name in `benchmarks`.
MODULES = {
    "pipeline": "invseg_jax.benchmarks.pipeline",
    "damage": "invseg_jax.benchmarks.damage.drill",
}
USER_ERROR = 2


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    escape_unencodable()
    try:
        _run(arguments)
    except UserError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"error: {printable(error)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except MemoryError as error:
        if "--debug" in arguments:
            raise
        reason = f" ({printable(error)})" if str(error) else ""
        print(f"error: memory ran out{reason}; take smaller sizes (see --help)", file=sys.stderr)
        return USER_ERROR
    except RuntimeError as error:
        # A device's memory may be found too small only when a program is compiled or runs.
        if "--debug" in arguments or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print(
            "error: the device ran out of memory; take smaller sizes (see --help)", file=sys.stderr
        )
        return USER_ERROR
    return 0


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("--help", "-h"):
        names = "\n".join(f"  {name:8}  {text}" for name, text in BENCHMARKS.items())
        print(f"{(__doc__ or '').strip()}\n\nNAME is one of\n{names}")
        if not arguments:
            raise UserError("which benchmark? (see above)")
        return
    name, *rest = arguments
    if name not in BENCHMARKS:
        raise UserError(f"no benchmark is called {name!r}; there are {', '.join(BENCHMARKS)}")
    # Before JAX starts: child processes want their share of the accelerator.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        module = importlib.import_module(MODULES.get(name, f"invseg_jax.benchmarks.{name}"))
    except ModuleNotFoundError as error:
        raise UserError(
            f"{name} needs {error.name}: install all of invseg_jax's packages"
        ) from error
    parser = _Parser(
        prog=f"python -m invseg_jax.benchmark {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    module.add_options(parser)
    options = parser.parse_args(rest)
    if hasattr(module, "prepare"):
        module.prepare(options)

    from invseg_jax.benchmarks.environment import environment, heading
    from invseg_jax.files.atomic_file import write_atomically

    where = environment()
    result = {
        "benchmark": name,
        "options": {key: str(value) for key, value in vars(options).items() if key != "json"},
        "environment": where,
        "tables": [],
    }

    def write() -> None:
        if options.json is not None:
            write_atomically(options.json, (json.dumps(result, indent=1) + "\n").encode())

    # Now rather than after an hour says that a file cannot be written; what is in one that is there
    # stays until there is something to replace it by.
    if options.json is not None and options.json.exists():
        write_atomically(options.json, options.json.read_bytes())
    else:
        write()
    print(heading(where), flush=True)
    for table in module.tables(options):
        print(f"\n{table.text()}", flush=True)
        result["tables"].append(table.as_json())
        write()


if __name__ == "__main__":
    sys.exit(main())
