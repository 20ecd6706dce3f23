"""Whether values read from JSON have the keys and the types that this version gives them.

The right keys and types follow from a dataclass's annotations. A fault is one text: "values[0] is
'x', not a whole number".
"""

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def fields_fault(cls: type, values: object, *, complete: bool, where: str = "") -> str | None:
    """What is wrong with the fields of a dataclass, or None.

    Args:
        cls: the dataclass.
        values: of its fields, with lists in the place of tuples and objects in the place of
            dataclasses.
        complete: whether fields with a default must be there too.
        where: the values' own name, for the text; "" for a whole file.
    """
    if not isinstance(values, Mapping):
        return _wrong(where, values, "an object")
    known = typing.get_type_hints(cls)
    inside = f"{where}." if where else ""
    for field in fields(cls):
        optional = field.default is not MISSING or field.default_factory is not MISSING
        if field.name not in values and (complete or not optional):
            return _missing(inside + field.name)
    for name, value in values.items():
        if name not in known:
            return _unknown(inside + name)
        if fault := _value_fault(known[name], value, inside + name):
            return fault
    return None


def _value_fault(annotation: Any, value: Any, where: str) -> str | None:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        faults = [_value_fault(option, value, where) for option in inner]
        return None if None in faults else faults[0]
    if annotation in (None, type(None)):
        return None if value is None else _wrong(where, value, "null")
    if origin is typing.Literal:
        return None if value in inner else _wrong(where, value, f"one of {inner}")
    if annotation in _NAMES:
        # For Python True is an int. And 1 may stand where a float is wanted.
        fits = type(value) is annotation or (annotation is float and type(value) is int)
        return None if fits else _wrong(where, value, _NAMES[annotation])
    if is_dataclass(annotation):
        assert isinstance(annotation, type)
        return fields_fault(annotation, value, complete=True, where=where)
    if origin is dict:
        if not isinstance(value, dict):
            return _wrong(where, value, "an object")
        items = ((inner[1], item, f"{where}[{_shown(key)}]") for key, item in value.items())
        return _first_fault(items)
    if annotation is tuple or origin is tuple:
        return _list_fault(inner, value, where)
    raise TypeError(f"{where}: no check for values of the type {annotation}")


def _list_fault(inner: tuple[Any, ...], value: Any, where: str) -> str | None:
    if not isinstance(value, list):
        return _wrong(where, value, "a list")
    if not inner:
        if any(item is None or isinstance(item, dict) for item in value):
            return _wrong(where, value, "a list of numbers, texts or lists")
        return None
    if inner[-1] is not Ellipsis and len(inner) != len(value):
        return _wrong(where, value, f"a list of {len(inner)}")
    each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
    items = zip(each, value, range(len(value)), strict=True)
    return _first_fault((kind, item, f"{where}[{number}]") for kind, item, number in items)


def _first_fault(items: Iterable[tuple[Any, Any, str]]) -> str | None:
    return next(filter(None, (_value_fault(*item) for item in items)), None)


def _wrong(where: str, value: Any, right: str) -> str:
    return f"{where} is {_shown(value)}, not {right}"


def _missing(where: str) -> str:
    return f"{where} is missing"


def _unknown(where: str) -> str:
    return f"{_shown(where)[1:-1]} is unknown"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
