"""A plan on the terminal and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict

from rich.table import Table

from invseg_jax.files.byte_size import show_size
from invseg_jax.files.json_values import JsonObject
from invseg_jax.memory_plan.choice import Choice
from invseg_jax.memory_plan.measure import Measured

# Rows, and where each figure comes from.
ROWS = {
    "parameters": "shapes",
    "averaged": "shapes",
    "optimiser": "shapes",
    "gradients": "as the parameters",
    "activations": "traced",
    "workspace": "the rest",
    "input": "shapes",
}
_NAMES = {"averaged": "averaged parameters", "activations": "trunk activations"}

NOTE = (
    "The total is what the compiler sets aside for one training step (arguments + results + "
    "temporaries - what they share). It does not itemise it: parameters, their average, the "
    "optimiser and the input are counted from their shapes, gradients as one a parameter, trunk "
    "activations as what differentiation keeps of the trunk from the forward to the backward pass. "
    "The workspace is the rest: augmentation, head, loss, padding, what one layer needs while it "
    "is evaluated, and whatever the compiler keeps beyond what was asked."
)
ON_CPU = (
    "On a CPU all devices share one memory and the figures are their sum; the CPU compiler undoes "
    "the rematerialisation of unrolled networks, so remat's workspace may hold what plain's "
    "activations do. Leave about 1 GiB more for Python, the libraries and the data that is read "
    "ahead."
)
ON_ACCELERATORS = "The figures are those of one device."


def table(title: str, modes: Mapping[str, Measured], own: str) -> Table:
    """Rows of bytes, one column a way to get the gradient.

    Args:
        title: what was compiled.
        modes: by `config.model.memory`.
        own: the configuration's own, printed bold.
    """
    grid = Table(title=title)
    grid.add_column("")
    grid.add_column("counted from")
    for mode in modes:
        grid.add_column(mode, justify="right", style="bold" if mode == own else "", no_wrap=True)
    for name, source in ROWS.items():
        sizes = (show_size(getattr(m.rows, name)) for m in modes.values())
        grid.add_row(_NAMES.get(name, name), source, *sizes)
    grid.add_section()
    totals = (f"{'> ' if m.refused else ''}{show_size(m.rows.total)}" for m in modes.values())
    grid.add_row("total", "compiled program", *totals)
    return grid


def as_json(choice: Choice, measured: Measured, memory: str) -> JsonObject:
    """One compiled step in terms of JSON; sizes in bytes."""
    return {
        **{key: list(v) if isinstance(v, tuple) else v for key, v in choice.values().items()},
        "model.memory": memory,
        "parameters": measured.count,
        "devices": measured.devices,
        "bytes": {**asdict(measured.rows), "total": measured.rows.total},
        "refused": measured.refused,
        "seconds": round(measured.seconds, 2),
    }
