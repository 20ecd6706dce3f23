"""Settings of inference: defaults, and what is refused."""

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from invseg_jax.experiment import Experiment, InferenceSettings
from tests.experiment.sections import (
    ANYTHING,
    assert_right_or_refused,
    assert_typed,
    assert_written_and_read,
    names,
    refusal,
)

RIGHT = st.builds(
    InferenceSettings,
    overlap=st.floats(0, 1, exclude_max=True),
    batch=st.integers(1, 100),
    mirror=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)


def test_an_experiment_has_the_defaults():
    assert Experiment().inference == InferenceSettings(0.5, 2, (False, False, False))
    assert_typed(InferenceSettings())


@hypothesis.given(RIGHT)
def test_what_is_written_is_read(settings: InferenceSettings):
    assert_written_and_read(settings)


@hypothesis.given(names(InferenceSettings), ANYTHING)
def test_anything_else_is_refused_by_name(name: str, value: Any):
    assert_right_or_refused(InferenceSettings, name, value)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"batch": 0}, "batch is 0; it must be at least 1"),
        ({"batch": 1.5}, "batch is 1.5, not a whole number"),
        ({"overlap": 1.0}, "overlap is 1.0; give a number from 0 to below 1"),
        ({"overlap": -0.1}, "overlap is -0.1; give a number from 0 to below 1"),
        ({"overlap": float("nan")}, "overlap is nan; give a number from 0 to below 1"),
        ({"mirror": (True, False)}, "mirror is (True, False); give 3 values, True or False"),
        ({"mirror": (True, False, 2)}, "mirror[2] is 2, not true or false"),
        ({"mirror": ()}, "mirror is (); give 3 values, True or False"),
        ({"mirror": True}, "mirror is True, not a list of values, True or False"),
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, Any], said: str):
    assert refusal(InferenceSettings, **wrong) == f"config.inference.{said}"
