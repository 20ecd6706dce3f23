"""Experiments as JSON values, written and read back."""

import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from invseg_jax.errors import UserError
from invseg_jax.experiment.experiment import Experiment
from invseg_jax.experiment.section import Section
from invseg_jax.experiment.values import annotations, fitted, shown
from invseg_jax.models import NetworkSettings, find

# Every version wrote them, and no default stands for what a run was.
_ALWAYS_THERE = ("config.model", "config.model.name")


def to_json(section: Section) -> dict[str, object]:
    """Every value as JSON has it: sections inside are objects, tuples are lists."""
    return {name: _value(value) for name, value in section.values().items()}


def _value(value: object) -> object:
    """A value of a setting, or a section, as JSON has it: objects, lists, numbers, texts, None."""
    if is_dataclass(value):
        return {field.name: _value(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return value


def from_json(values: object, *, complete: bool = True) -> Experiment:
    """The experiment that JSON values describe.

    Args:
        values: what `Experiment.to_json` gave.
        complete: whether every key must be there. Runs of earlier versions lack some; what is
            missing has its default, but for the network's name.

    Raises:
        UserError: a key is missing or unknown, or a value has the wrong type or is out of range.
    """
    return _section(Experiment, values, "config", complete)


def _section(cls: type, values: object, where: str, complete: bool) -> Any:
    if not isinstance(values, Mapping):
        raise UserError(f"{where} is {shown(values)}, not an object")
    known = annotations(cls)
    for name in values:
        if name not in known:
            raise UserError(f"{shown(f'{where}.{name}')[1:-1]} is unknown")
    found = {}
    for field in fields(typing.cast(Any, cls)):
        full = f"{where}.{field.name}"
        if field.name not in values:
            if complete or field.default is MISSING or full in _ALWAYS_THERE:
                raise UserError(f"{full} is missing")
            continue
        value = values[field.name]
        kind = _kind(known[field.name])
        if kind is NetworkSettings:
            kind = _network_settings(found.get("name", ""))
        if kind is not None and value is not None:
            found[field.name] = _section(kind, value, full, complete)
        else:
            found[field.name] = fitted(known[field.name], value, full)
    return cls(**found)


def _kind(annotation: object) -> type | None:
    """The dataclass of a field that is a section, or None."""
    options = typing.get_args(annotation) or (annotation,)
    found = (option for option in options if is_dataclass(option))
    return typing.cast(type | None, next(found, None))


def _network_settings(name: object) -> type:
    try:
        return find(str(name)).Settings
    except ValueError as error:
        raise UserError(f"config.model.name is {shown(name)}: {error}") from error
