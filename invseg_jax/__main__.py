"""The console script `invseg`: all commands under one name.

    invseg train --config iseg:quick --workdir RUN
    invseg predict --workdir RUN --input scan.nii.gz --output DIR
    invseg train --help

`invseg NAME ...` does what `python -m invseg_jax.NAME ...` does.
"""

import runpy
import sys

COMMANDS = {
    "train": "trains a network, or goes on with a training",
    "evaluate": "scores a trained network, with a report",
    "predict": "segments images",
    "annotate": "marks objects in an image, on a page in the browser",
    "check_data": "finds every fault of a data set",
    "plan": "tells what a training step takes of memory, and what fits",
    "compare": "trains configurations side by side and writes a table",
    "benchmark": "measures memory and speed",
}


def main() -> None:
    """Runs the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help", "help"):
        print(_help())
        return
    if name == "--version":
        from invseg_jax import __version__

        print(f"invseg {__version__}")
        return
    if name not in COMMANDS:
        print(
            f"error: there is no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr
        )
        raise SystemExit(2)
    del sys.argv[1]
    runpy.run_module(f"invseg_jax.{name}", run_name="__main__", alter_sys=True)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join([(__doc__ or "").strip(), "", "commands:", *lines])


if __name__ == "__main__":
    main()
