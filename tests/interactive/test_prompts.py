"""Prompts are plain values: what is wrong is refused, and JSON gives the same ones back."""

import json
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from invseg_jax.errors import UserError
from invseg_jax.interactive.prompts import (
    KINDS,
    Box,
    Click,
    ExtremePoints,
    Lasso,
    Prompt,
    Scribble,
    from_json,
)

COORDINATES = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
POINTS = st.tuples(COORDINATES, COORDINATES)


def prompts() -> st.SearchStrategy[Prompt]:
    def of(cls: type[Prompt]) -> st.SearchStrategy[Prompt]:
        most = int(cls.most) if cls.most < 100 else 9
        points = st.lists(POINTS, min_size=cls.fewest, max_size=most).map(tuple)
        rest = {"radius": st.floats(0, 50)} if cls is Scribble else {}
        return st.builds(cls, points, st.booleans(), **rest)

    return st.sampled_from(list(KINDS.values())).flatmap(of)


@given(prompts())
def test_json_gives_the_prompt_back(prompt):
    text = json.dumps(prompt.to_json(), allow_nan=False)
    assert from_json(json.loads(text)) == prompt


def test_numbers_of_every_kind_are_points():
    points: Any = np.array([[3, 5]])
    assert Click(points) == Click(((3.0, 5.0),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Click(()), "click: 1 points are needed, 0 were given"),
        (lambda: Click(((1, 2), (3, 4))), "click: 1 points are needed, 2 were"),
        (lambda: Box(((1, 2),)), "box: 2 points are needed, 1 were"),
        (lambda: ExtremePoints(((1, 2),) * 5), "extreme points: 4 points are needed, 5 were"),
        (lambda: Lasso(((1, 2), (3, 4))), "lasso: 3 or more points are needed, 2 were"),
        (lambda: Click(((1, float("nan")),)), "a point is not finite"),
        (lambda: Click(((1, 2, 3),)), "must be pairs"),  # pyright: ignore[reportArgumentType]
        (lambda: Click((("a", 1),)), "must be pairs"),  # pyright: ignore[reportArgumentType]
        (lambda: Click(5), "must be pairs"),  # pyright: ignore[reportArgumentType]
        (lambda: Scribble(((1, 2),), radius=-1), "radius must be 0 or more"),
        (lambda: Scribble(((1, 2),), radius="2"), "radius must be 0 or more"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_wrong_points_are_refused(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "a prompt's kind must be one of click, scribble, box"),
        ({"kind": "circle"}, "not 'circle'"),
        ({"kind": ["click"]}, "must be one of"),
        ({"kind": "click"}, "must be a list, not None"),
        ({"kind": "click", "points": "ab"}, "must be a list"),
        ({"kind": "click", "points": [[1, 2]], "positive": 1}, "must be true or false"),
        ({"kind": "click", "points": [[1, 2]], "radius": 1}, "click: there is no 'radius'"),
        ({"kind": "scribble", "points": [[1, 2]], "radius": None}, "radius must be"),
    ],
)
def test_json_of_no_prompt_is_refused(values, message):
    with pytest.raises(UserError) as error:
        from_json(values)
    assert message in str(error.value)


def test_bounds_hold_all_points():
    assert Lasso(((3, 9), (1, 4), (2, 8))).bounds == ((1, 4), (3, 9))
