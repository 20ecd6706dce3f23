"""How a try ends is told apart rightly."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from invseg_jax.benchmarks.damage.verdict import CAUGHT, HARMLESS, TRACEBACK, WRONG, judge, same
from invseg_jax.errors import UserError

SOUND = {"a": np.arange(3, dtype=np.float32), "b": "text"}
EARLIER = {"a": np.zeros(3, np.float32), "b": "text"}
OTHER = {"a": np.ones(3, np.float32), "b": "text"}


def raises(error: Exception) -> Callable[[Any], Any]:
    def read(say: Any) -> Any:
        raise error

    return read


def says(found: Any, how: str) -> Callable[[Any], Any]:
    def read(say: Callable[[str], None]) -> Any:
        if how == "say":
            say("made anew")
        elif how == "print":
            print("made anew")
        elif how == "warn":
            warnings.warn("made anew", stacklevel=1)
        return found

    return read


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (raises(UserError("one line")), CAUGHT),
        (raises(UserError("two\nlines")), TRACEBACK),
        (raises(ValueError("one line")), TRACEBACK),
        (raises(KeyError("x")), TRACEBACK),
        (says(SOUND, "nothing"), HARMLESS),
        (says(OTHER, "nothing"), WRONG),
        (says({}, "nothing"), WRONG),
        *((says(SOUND, how), CAUGHT) for how in ("say", "print", "warn")),
        *((says(EARLIER, how), CAUGHT) for how in ("say", "print", "warn")),
        *((says(OTHER, how), WRONG) for how in ("say", "print", "warn")),
        (says(EARLIER, "nothing"), WRONG),  # an older checkpoint without a word
    ],
)
def test_verdicts(read: Callable[[Any], Any], kind: str) -> None:
    assert judge(read, SOUND, [EARLIER]).kind == kind


def test_what_was_said_is_kept() -> None:
    for how in ("say", "print", "warn"):
        assert judge(says(SOUND, how), SOUND).said == "made anew"
    assert judge(raises(KeyError("x")), SOUND).said == "KeyError: 'x'"


def test_an_interruption_is_no_verdict() -> None:
    def interrupted(say: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(interrupted, SOUND)


@pytest.mark.parametrize(
    "other",
    [
        {"a": np.arange(3, dtype=np.float64)},
        {"a": np.arange(3, dtype=np.float32)[None]},
        {"a": np.array([0, 1, -2], np.float32)},
        {"a": [0.0, 1.0, 2.0]},
        {"a": np.arange(3, dtype=np.float32), "b": 1},
        {},
    ],
)
def test_results_that_differ(other: Any) -> None:
    sound = {"a": np.arange(3, dtype=np.float32)}
    assert same(sound, dict(sound)) and not same(other, sound) and not same(sound, other)


def test_minus_zero_and_no_number_are_compared_by_their_bits() -> None:
    zero, nan = np.zeros(1, np.float32), np.full(1, np.nan, np.float32)
    assert same({"a": nan}, {"a": nan.copy()}) and not same({"a": zero}, {"a": -zero})
    assert not same({"a": 1}, {"a": 1.0}) and not same({"a": 1}, {"a": True})
