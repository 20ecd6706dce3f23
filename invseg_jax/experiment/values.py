"""Values and the types that settings declare: checked, brought to the type, read from text.

The same rules hold for a value in Python, in a JSON file and on the command line. An error is one
text: "config.data.fold is 'x', not a whole number".
"""

import ast
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from invseg_jax.errors import UserError

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@functools.cache
def annotations(cls: type) -> dict[str, object]:
    """The type of each field of a dataclass, by name, in order."""
    known = typing.get_type_hints(cls)
    return {field.name: known[field.name] for field in fields(cls)}


def fitted(annotation: object, value: object, where: str) -> object:
    """A value brought to a type: lists become tuples, whole numbers become floats.

    Args:
        annotation: a type as a dataclass declares it.
        value: from Python, or from JSON.
        where: the name of the setting, for the error.

    Raises:
        UserError: the value does not have the type.
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return _fitted_to_one(inner, value, where)
    if annotation is None or annotation is type(None):
        if value is None:
            return None
        raise _wrong(where, value, "None")
    if origin is typing.Literal:
        if value in inner:
            return value
        raise UserError(f"{where} is {shown(value)}; there are {', '.join(map(str, inner))}")
    if annotation in _NAMES:
        return _fitted_scalar(annotation, value, where)
    if annotation is tuple or origin is tuple:
        return _fitted_tuple(inner, value, where)
    if is_dataclass(annotation):
        if isinstance(value, typing.cast(type, annotation)):
            return value
        raise _wrong(where, value, f"a {typing.cast(type, annotation).__name__}")
    raise TypeError(f"{where}: no rule for values of the type {annotation}")


def from_text(annotation: object, text: str, where: str) -> object:
    """The value that a text on the command line stands for.

    Texts are taken as they are. Tuples are written as in Python, "(1, 2)", or without brackets and
    quotes: "1,2", "ct". "None" is None where the type allows it.

    Raises:
        UserError: the text does not stand for a value of the type.
    """
    if annotation is str or annotation in (int, float):
        return _number(annotation, text, where)
    if annotation is bool:
        known = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
        if text.strip().lower() not in known:
            raise _wrong(where, text, _NAMES[bool])
        return known[text.strip().lower()]
    options = _options(annotation)
    if type(None) in options and text.strip() == "None":
        return None
    if typing.get_origin(annotation) is typing.Literal:
        return fitted(annotation, text, where)
    wants_tuple = any(option is tuple or typing.get_origin(option) is tuple for option in options)
    return fitted(annotation, _literal(text, wants_tuple, options), where)


def _options(annotation: object) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return typing.get_args(annotation)
    return (annotation,)


def _number(annotation: Any, text: str, where: str) -> object:
    try:
        return annotation(text)
    except ValueError:
        raise _wrong(where, text, _NAMES[annotation]) from None


def _literal(text: str, wants_tuple: bool, options: tuple[Any, ...]) -> object:
    """A text as Python reads it; where that fails, words between commas."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if not wants_tuple:
            return text
        words = text.strip().removeprefix("(").removesuffix(")").split(",")
        value = tuple(word.strip().strip("\"'") for word in words if word.strip())
    scalar = not isinstance(value, (tuple, list, dict, set))
    if scalar and wants_tuple and not any(option in _NAMES for option in options):
        value = (value,)
    texts = any(typing.get_args(option)[:1] == (str,) for option in options)
    if texts and isinstance(value, (tuple, list)):  # the ids 1 and 2, not the numbers
        value = tuple(str(item) for item in value)
    return value


def _fitted_to_one(options: tuple[Any, ...], value: object, where: str) -> object:
    first: UserError | None = None
    for option in options:
        try:
            return fitted(option, value, where)
        except UserError as error:
            first = first or error
    assert first is not None
    raise first


def _fitted_scalar(annotation: Any, value: Any, where: str) -> object:
    # For Python, True is an int.
    if type(value) is annotation:
        return value
    if isinstance(value, annotation) and not isinstance(value, bool):  # NumPy's float64 is a float
        return annotation(value)
    if annotation is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            pass
    raise _wrong(where, value, _NAMES[annotation])


def _fitted_tuple(inner: tuple[Any, ...], value: Any, where: str) -> tuple[object, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise _wrong(where, value, "a list" if not inner else f"a list of {_each(inner)}")
    items = tuple(value)
    if not inner:
        return items
    if inner[-1] is Ellipsis:
        each = (inner[0],) * len(items)
    elif len(inner) == len(items):
        each = inner
    else:
        raise UserError(f"{where} is {shown(value)}; give {len(inner)} {_each(inner)}")
    return tuple(
        fitted(kind, item, f"{where}[{number}]")
        for number, (kind, item) in enumerate(zip(each, items, strict=True))
    )


def _each(inner: tuple[Any, ...]) -> str:
    names = {int: "whole numbers", float: "numbers", str: "texts", bool: "values, True or False"}
    return names.get(inner[0], "values")


def _wrong(where: str, value: object, right: str) -> UserError:
    return UserError(f"{where} is {shown(value)}, not {right}")


def shown(value: object) -> str:
    """A value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
