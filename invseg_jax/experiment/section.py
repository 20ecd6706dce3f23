"""What all sections of an experiment share: frozen, typed, checked when they are made."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from invseg_jax.errors import UserError
from invseg_jax.experiment.values import annotations, fitted


@dataclass(frozen=True)
class Section:
    """Settings of one part of the program.

    A subclass is a frozen dataclass. Each field has a type and a default, and its meaning and unit
    stand under `Attributes:` in the docstring. Lists become tuples and whole numbers become floats
    where the type wants them. `check` holds what a type cannot say.

    Attributes:
        KEY: the section's place in an experiment, such as "data.preprocess"; "" for the top level.

    Raises:
        UserError: a value has the wrong type or is out of range.
    """

    KEY: ClassVar[str] = ""

    def __post_init__(self):
        """Brings each value to its type, then checks the ranges."""
        for name, annotation in annotations(type(self)).items():
            value = fitted(annotation, getattr(self, name), self.named(name))
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Checks what the types cannot say.

        Raises:
            UserError: a value is out of range.
        """

    @classmethod
    def named(cls, name: str) -> str:
        """The full name of a setting, as "config.data.patch"."""
        return ".".join(part for part in ("config", cls.KEY, name) if part)

    def wrong(self, name: str, remedy: str) -> UserError:
        """The error for a value: its full name, the value, and what to give instead."""
        return UserError(f"{self.named(name)} is {getattr(self, name)!r}; {remedy}")

    def at_least(self, least: int, *names: str) -> None:
        """Checks that settings are not below a number.

        Raises:
            UserError: one is, or is no number.
        """
        for name in names:
            if not getattr(self, name) >= least:  # not a number is not either
                raise self.wrong(name, f"it must be at least {least}")

    def names(self) -> Sequence[str]:
        """The names of the fields, in order."""
        return [field.name for field in fields(self)]

    def values(self) -> dict[str, object]:
        """The values by name; sections inside stay sections."""
        return {name: getattr(self, name) for name in self.names()}
