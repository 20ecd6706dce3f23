"""The names that parameters have in checkpoints of earlier versions.

The layers of an invertible trunk were numbered by their places in it; now they have names:

    trunk.params.1.0.1.turns.0.value  ->  trunk.params.deeper.down.rotation.turns.0.value

Both sort in the order of the layers, so that the arrays of a trunk correspond one to one.
"""

import re
from collections.abc import Collection, Iterable

# The trunk's parameters, the places of its layers, and a weight of the layer.
_PLACED = re.compile(r"(.*\bparams)((?:\.\d+)+)\.([A-Za-z_].*)")


def earlier_names(stored: Iterable[str], wanted: Collection[str]) -> dict[str, str]:
    """Under which names a checkpoint of an earlier version holds the arrays of trunks.

    Args:
        stored: the names of all arrays in the checkpoint.
        wanted: the names that are looked for.

    Returns:
        By wanted name the name in the checkpoint, where that is another. Nothing of a trunk that
        has other layers there: the checkpoint is of another network.
    """
    trunks: dict[str, list[tuple[str, str]]] = {}
    for name in stored:
        if placed := _PLACED.fullmatch(name):
            trunk, _, weight = placed.groups()
            trunks.setdefault(trunk, []).append((name, weight))
    found: dict[str, str] = {}
    for trunk, arrays in trunks.items():
        arrays.sort(key=lambda array: _in_order(array[0]))
        names = sorted((name for name in wanted if name.startswith(f"{trunk}.")), key=_in_order)
        if len(names) == len(arrays) and all(
            name.endswith(f".{weight}") for name, (_, weight) in zip(names, arrays, strict=True)
        ):
            found.update((name, there) for name, (there, _) in zip(names, arrays, strict=True))
    return {name: there for name, there in found.items() if name != there}


def _in_order(name: str) -> list[tuple[int, str]]:
    """Sorts as Flax does: numbers by their values, words by their letters."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in name.split(".")]
