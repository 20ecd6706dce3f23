"""Other values for settings, by dotted names: as a caller gives them, or as texts of a command."""

import difflib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from typing import Any, Protocol

from invseg_jax.errors import UserError
from invseg_jax.experiment.experiment import Experiment
from invseg_jax.experiment.model import ModelSettings
from invseg_jax.experiment.values import annotations, fitted, from_text
from invseg_jax.models import names


class _Read(Protocol):
    """Reads one value, given the field's type, the value, and the setting's full name."""

    def __call__(self, annotation: object, given: Any, where: str, /) -> Any: ...


def changed(experiment: Experiment, changes: Mapping[str, object]) -> Experiment:
    """A copy of an experiment with other values; see `Experiment.changed`."""
    return _with(experiment, _nested(changes), "", fitted)


def changed_by_text(experiment: Experiment, changes: Mapping[str, str]) -> Experiment:
    """A copy of an experiment with values as the command line gives them.

    Args:
        experiment: to start from.
        changes: texts by dotted names, such as {"data.patch": "(32, 32, 32)"}.

    Raises:
        UserError: there is no such setting, or a text that does not stand for a right value.
    """
    return _with(experiment, _nested(changes), "", from_text)


def _nested(changes: Mapping[str, object]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": _Given(1)}}."""
    tree: dict[str, Any] = {}
    for key, value in changes.items():
        *sections, name = key.split(".")
        inside = tree
        for section in sections:
            inside = inside.setdefault(section, {})
            if not isinstance(inside, dict):
                raise UserError(f"config.{key} and a section that holds it are both given")
        if name in inside:
            raise UserError(f"config.{key} and a setting in it are both given")
        inside[name] = _Given(value)
    return tree


class _Given:
    """A value, told apart from the dictionaries of a section's changes."""

    def __init__(self, value: object):
        self.value = value


def _with(section: Any, tree: Mapping[str, Any], key: str, read: _Read) -> Any:
    if isinstance(section, ModelSettings) and "name" in tree:
        section = _another_network(section, tree["name"], read)
    known = annotations(type(section))
    values = {}
    for name, change in tree.items():
        if name not in known:
            raise unknown(name, list(known), key)
        full = f"{key}.{name}" if key else name
        if isinstance(change, _Given):
            if _section_class(known[name]) is not None and read is from_text:
                raise UserError(f"config.{full} is a section; give a setting in it")
            values[name] = read(known[name], change.value, f"config.{full}")
        else:
            inner = getattr(section, name)
            if inner is None and (kind := _section_class(known[name])) is not None:
                inner = kind()
            if not is_dataclass(inner):
                raise UserError(f"config.{full} has no settings in it; it is one value")
            values[name] = _with(inner, change, full, read)
    return replace(section, **values)


def _another_network(settings: ModelSettings, name: Any, read: _Read) -> ModelSettings:
    """With another network's own defaults, where the name is another."""
    if not isinstance(name, _Given):
        raise UserError("config.model.name has no settings in it; it is one value")
    wanted = read(str, name.value, "config.model.name")
    if wanted == settings.name or wanted not in names():  # the check says which there are
        return settings
    return replace(settings, name=wanted, settings=None, memory=None)


def _section_class(annotation: object) -> Callable[[], Any] | None:
    """The dataclass of a field that is a section, or None."""
    options = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (types.UnionType, typing.Union)
        else (annotation,)
    )
    found = [option for option in options if is_dataclass(option)]
    return typing.cast(Callable[[], Any], found[0]) if found else None


def unknown(name: str, known: list[str], key: str) -> UserError:
    """The error for a name that there is not, with the most similar one that there is."""
    where = f"config.{key}" if key else "config"
    similar = difflib.get_close_matches(name, known, 1, 0.6)
    if similar:
        return UserError(f'{where}: Did you mean "{similar[0]}" instead of "{name}"?')
    return UserError(f'{where}: there is no "{name}"; there are {", ".join(known)}')
