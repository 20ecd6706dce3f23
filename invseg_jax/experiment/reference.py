"""The settings as a table: name, type, default and meaning of each.

The documentation's page of settings is made of this. Nothing is written twice: types and defaults
come from the dataclasses, the meanings from their docstrings.
"""

import inspect
import re
import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from invseg_jax.experiment.experiment import Experiment
from invseg_jax.experiment.model import ModelSettings
from invseg_jax.experiment.values import annotations
from invseg_jax.models import find, names


class Row(NamedTuple):
    """One setting.

    Attributes:
        key: its full name, as in `--config.KEY=VALUE`; for the settings of a network's own with
            the network in brackets: "model.settings.channels (FullInvRes)".
        type: what values it takes, in words of Python: "int", "(float, float, float) or None".
        default: as Python writes it.
        meaning: what it does, and its unit.
    """

    key: str
    type: str
    default: str
    meaning: str


def rows() -> list[Row]:
    """All settings of an experiment, in the order of their sections."""
    found = _rows(Experiment, "")
    place = next(i for i, row in enumerate(found) if row.key.startswith("model.")) + 1
    for name in names():
        own = _rows(find(name).Settings, "model.settings")
        own = [row._replace(key=f"{row.key} ({name})") for row in own]
        found[place:place] = own
        place += len(own)
    return found


def meanings(cls: type) -> dict[str, str]:
    """What a dataclass's docstring says of each of its attributes, bases included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = re.search(r"Attributes:\n(.*?)(\n\n|\Z)", inspect.getdoc(base) or "", re.S)
        if section is None or not is_dataclass(base):
            continue
        entries = re.split(r"\n(?=    \w+: )", "\n" + section[1])
        for entry in filter(None, map(str.strip, entries)):
            name, _, text = entry.partition(": ")
            found[name] = " ".join(text.split())
    return found


def _rows(cls: type, key: str) -> list[Row]:
    known, said = annotations(cls), meanings(cls)
    own: list[Row] = []
    below: list[Row] = []  # sections come after the values of the section that holds them
    for field in fields(typing.cast(Any, cls)):
        full = f"{key}.{field.name}" if key else field.name
        inner = _section(known[field.name])
        if cls is ModelSettings and field.name == "settings":
            continue  # each network has its own
        if inner is not None:
            below += _rows(inner, full)
        else:
            text = said.get(field.name, "")
            own.append(Row(full, in_words(known[field.name]), repr(field.default), text))
    return own + below


def _section(annotation: object) -> type | None:
    options = typing.get_args(annotation) or (annotation,)
    found = (option for option in options if is_dataclass(option))
    return typing.cast(type | None, next(found, None))


def in_words(annotation: object) -> str:
    """A type as a reader takes it: "int", "(float, float) or None"."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(in_words, inner))
    if origin is typing.Literal:
        return " or ".join(f'"{value}"' for value in inner)
    if origin is tuple and inner[-1] is Ellipsis:
        return f"({in_words(inner[0])}, ...)"
    if origin is tuple:
        return f"({', '.join(map(in_words, inner))})"
    assert isinstance(annotation, type)
    return "None" if annotation is type(None) else annotation.__name__
