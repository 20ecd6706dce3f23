"""Whether a training may go on from what a run's folder holds.

Each function takes what the folder's JSON files hold and what would be written there now, as JSON
values, and gives the fault in words: "holds a run with another config.seed (0, now 1); ...".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from invseg_jax.files.json_values import JsonObject

# The settings that must stay for a run to go on. How the network is evaluated (memory, stream, ...)
# may change: the parameters do not.
_KEPT = (
    "task",
    "seed",
    "model.name",
    "model.settings",
    "vae.latent",
    "vae.widths",
    "data.layout",
    "data.annotated_slices",
    "data.preprocess",
    "loss.regions",
    "optimiser.name",
    *(f"interactive.{name}" for name in ("window", "channels", "couplings", "groups")),
    *(f"interactive.{name}" for name in ("key", "value", "level", "detail")),
)


def settings_fault(earlier: JsonObject, now: JsonObject, step: int) -> str | None:
    """What keeps a configuration from going on with a run, or None.

    Args:
        earlier: the configuration that the run's folder holds.
        now: the configuration of the training that is about to start.
        step: the newest that was saved. Where it is the last one, no step follows: no setting may
            be written that the parameters have not seen.
    """
    # The branch's dense layers are made for the patch.
    kept = [*_KEPT, *(("data.patch",) if now["vae"]["latent"] else ())]
    if step == now["steps"]:
        kept += _shared(earlier, now, ("optimiser", "loss", "augment", "vae", "interactive"))
        # Earlier versions did not settle what was left open.
        kept = [part for part in kept if part != "augment.spacing" or _at(earlier, part)]
        kept += ["data.batch", "data.patch", "data.foreground"]
    for part in kept:
        if _at(earlier, part) != _at(now, part):
            return (
                f"holds a run with another config.{_difference(part, earlier, now)}; "
                "use the same configuration to resume it, or another --workdir"
            )
    return None


def data_fault(earlier: JsonObject, now: JsonObject) -> str | None:
    """What differs between some data and the data of a run so that it cannot go on, or None.

    Args:
        earlier: the description of the data that the run's folder holds.
        now: the description of the data that is about to be trained on.
    """
    for part in ("modalities", "classes", "values", "reference", "ignore", "regions"):
        # Runs of earlier versions have no regions.
        before = earlier.get(part, [] if part == "regions" else None)
        if before != now[part]:
            return (
                f"holds a run with other {part} ({before}, now {now[part]}); "
                "use the same data to resume it, or another --workdir"
            )
    before, cases = earlier["training"], now["training"]
    if before != cases:
        return (
            f"holds a run on other data ({len(before)} training cases, now {len(cases)}, not all "
            "the same); use the same --data and fold to resume it, or another --workdir"
        )
    return None


def _at(values: JsonObject, path: str) -> Any:
    """The setting of a path such as "model.name"; {} where it is missing."""
    found: Any = values
    for name in path.split("."):
        found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found


def _shared(earlier: JsonObject, now: JsonObject, sections: Sequence[str]) -> list[str]:
    """The settings of sections that both have."""
    return [
        f"{section}.{name}"
        for section in sections
        for name in sorted({*_at(earlier, section)} & {*_at(now, section)})
    ]


def _difference(part: str, earlier: JsonObject, now: JsonObject) -> str:
    """Names the first value that differs below `part`: "model.channels ([8, 16], now [8, 32])"."""
    a, b = _at(earlier, part), _at(now, part)
    names: Sequence[str] = sorted({*a, *b}) if isinstance(a, dict) and isinstance(b, dict) else []
    for name in names:
        if a.get(name) != b.get(name):
            return _difference(f"{part}.{name}", earlier, now)
    return f"{part} ({a if a != {} else 'absent'}, now {b if b != {} else 'absent'})"
