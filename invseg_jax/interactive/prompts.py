"""What a person draws on one slice: clicks, scribbles, boxes, extreme points and lassos.

A slice is an array (rows, columns). All coordinates are (row, column) in voxels of the slice: voxel
(3, 5) has its centre at (3.0, 5.0), and a point may lie between centres. A prompt is positive where
it says "this belongs to the object", and negative where it says "this does not".

Prompts are plain values: two with the same points are equal, and `to_json` and `from_json` are each
other's inverse. So a session's log can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from invseg_jax.errors import UserError

Point = tuple[float, float]


@dataclass(frozen=True)
class Prompt:
    """What all prompts have in common.

    Attributes:
        kind: the name that `to_json` gives the class.
        fewest: how many points the prompt has at least.
        most: how many points the prompt has at most.
        points: each (row, column), in voxels.
        positive: whether the prompt marks the object, or what is not the object.
    """

    kind: ClassVar[str]
    fewest: ClassVar[int] = 1
    most: ClassVar[float] = math.inf

    points: tuple[Point, ...]
    positive: bool = True

    def __post_init__(self) -> None:
        """Checks the points."""
        try:
            points = tuple((float(row), float(column)) for row, column in self.points)
        except (TypeError, ValueError):
            raise UserError(
                f"{self.kind}: points must be pairs (row, column), not {self.points!r}"
            ) from None
        if not all(math.isfinite(value) for point in points for value in point):
            raise UserError(f"{self.kind}: a point is not finite: {points}")
        if not self.fewest <= len(points) <= self.most:
            wanted = f"{self.fewest}" + ("" if self.most == self.fewest else " or more")
            raise UserError(f"{self.kind}: {wanted} points are needed, {len(points)} were given")
        object.__setattr__(self, "points", points)

    @property
    def encloses(self) -> bool:
        """Whether it tells how large the object is: extreme points, a positive box or lasso."""
        return self.positive and self.kind in ("extreme points", "box", "lasso")

    @property
    def bounds(self) -> tuple[Point, Point]:
        """The lowest and the highest row and column of the points."""
        rows, columns = zip(*self.points, strict=True)
        return (min(rows), min(columns)), (max(rows), max(columns))

    def to_json(self) -> dict[str, object]:
        """The prompt in terms of JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"kind": self.kind, **values, "points": [list(point) for point in self.points]}


@dataclass(frozen=True)
class Click(Prompt):
    """One point inside of the object, or outside of it."""

    kind: ClassVar[str] = "click"
    most: ClassVar[float] = 1


@dataclass(frozen=True)
class Scribble(Prompt):
    """A free line through the object, or through what is not the object.

    Attributes:
        radius: half of the line's width, in voxels.
    """

    kind: ClassVar[str] = "scribble"

    radius: float = 1.0

    def __post_init__(self) -> None:
        """Checks the radius too."""
        super().__post_init__()
        if not (isinstance(self.radius, int | float) and 0 <= self.radius < math.inf):
            raise UserError(f"a scribble's radius must be 0 or more voxels, not {self.radius!r}")


@dataclass(frozen=True)
class Box(Prompt):
    """The smallest rectangle around the object: two opposite corners, both inside of the box."""

    kind: ClassVar[str] = "box"
    fewest: ClassVar[int] = 2
    most: ClassVar[float] = 2


@dataclass(frozen=True)
class ExtremePoints(Prompt):
    """The object's highest, lowest, leftmost and rightmost points, in any order."""

    kind: ClassVar[str] = "extreme points"
    fewest: ClassVar[int] = 4
    most: ClassVar[float] = 4


@dataclass(frozen=True)
class Lasso(Prompt):
    """A closed curve around the object, or around a part of the slice that is not the object."""

    kind: ClassVar[str] = "lasso"
    fewest: ClassVar[int] = 3


KINDS: dict[str, type[Prompt]] = {
    prompt.kind: prompt for prompt in (Click, Scribble, Box, ExtremePoints, Lasso)
}


def from_json(values: Mapping[str, object]) -> Prompt:
    """The prompt that `to_json` described.

    Raises:
        UserError: the kind is unknown, a value is missing or unknown, or the points are wrong.
    """
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(f"a prompt's kind must be one of {', '.join(KINDS)}, not {kind!r}")
    cls = KINDS[kind]
    known = {field.name for field in fields(cls)}
    given = {name: value for name, value in values.items() if name != "kind"}
    if unknown := sorted(given.keys() - known):
        raise UserError(f"{kind}: there is no {unknown[0]!r}; there are {', '.join(sorted(known))}")
    points, positive = given.get("points"), given.get("positive", True)
    if not isinstance(points, Sequence) or isinstance(points, str):
        raise UserError(f"{kind}: points must be a list, not {points!r}")
    if not isinstance(positive, bool):
        raise UserError(f"{kind}: positive must be true or false, not {positive!r}")
    rest = {name: value for name, value in given.items() if name not in ("points", "positive")}
    return cls(tuple(points), positive, **rest)
