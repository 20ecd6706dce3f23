"""What runs of earlier versions wrote, in the form that this version reads.

One place holds all of it. `FORMAT` is the format of the files of this version; a file without a
format is of the time before there was one.
"""

import copy
from collections.abc import Mapping
from typing import Any

from invseg_jax.experiment.interactive import InteractiveSettings

FORMAT = 4
# The settings that earlier versions did not have, at what they did then.
_BEFORE: dict[str, object] = {
    "vae": {"latent": 0, "widths": []},
    "data.annotated_slices": [],
    "data.preprocess": {"canonical": False},  # the axes were those of the files
    "loss.regions": False,
    "optimiser.name": "adamw",
    "inference.mirror": [False, False, False],
}


def upgraded(values: Mapping[str, object], form: int | None) -> dict[str, object]:
    """The values of a config.json as this version writes them.

    Args:
        values: what the file holds.
        form: its format number; None where it has none.

    Returns:
        A copy. What is not as any version wrote it stays as it is, for the check to find.
    """
    values = copy.deepcopy(dict(values))
    if form is None:
        for key, value in _BEFORE.items():
            _default(values, key.split("."), value)
    if form is None or form < 3:
        _before_3(values)
    if form is None or form < 4:
        # There was one task, and nothing to set of the other.
        values.setdefault("task", "segmentation")
        values.setdefault("interactive", _values(InteractiveSettings()))
    return values


def _values(section: InteractiveSettings) -> dict[str, object]:
    """The settings as JSON has them: tuples are lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in section.values().items()}


def _default(values: Any, path: list[str], value: object) -> None:
    for name in path[:-1]:
        values = values.get(name) if isinstance(values, dict) else None
    if isinstance(values, dict):
        values.setdefault(path[-1], copy.deepcopy(value))


def _before_3(values: dict[str, Any]) -> None:
    data, augment, optimiser = (values.get(name) for name in ("data", "augment", "optimiser"))
    if isinstance(data, dict):
        data.setdefault("embedded", None)
    # Voxels counted as cubes of 1 mm unless the configuration said otherwise.
    if isinstance(augment, dict) and augment.get("spacing") == [1.0, 1.0, 1.0]:
        augment["spacing"] = None
    # A warm-up longer than half of the run was cut to that.
    steps = values.get("steps")
    if isinstance(optimiser, dict) and type(steps) is int and steps > 0:
        warmup = optimiser.get("warmup")
        if type(warmup) is int and warmup > steps // 2:
            optimiser["warmup"] = steps // 2
