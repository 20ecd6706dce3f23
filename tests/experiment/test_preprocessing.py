"""Settings of the preparation: defaults, the command line, and what is refused."""

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from invseg_jax.experiment import Experiment, Preprocessing
from invseg_jax.experiment.changes import changed_by_text
from invseg_jax.experiment.stored import from_json
from invseg_jax.experiment.upgrade import upgraded
from tests.experiment.sections import (
    ANYTHING,
    assert_right_or_refused,
    assert_typed,
    assert_written_and_read,
    names,
    refusal,
)

SCHEMES = st.sampled_from(["z_score_nonzero", "z_score", "ct"])
RIGHT = st.builds(
    Preprocessing,
    canonical=st.booleans(),
    spacing=st.none() | st.tuples(*[st.floats(1e-3, 1e3)] * 3),
    interpolation=st.sampled_from(["linear", "cubic"]),
    labels=st.sampled_from(["linear", "nearest"]),
    crop=st.booleans(),
    margin=st.integers(0, 99),
    normalisation=st.lists(SCHEMES, min_size=1, max_size=3).map(tuple),
)


def test_an_experiment_has_the_defaults():
    assert Experiment().data.preprocess == Preprocessing()
    assert_typed(Preprocessing())


@hypothesis.given(RIGHT)
def test_what_is_written_is_read(settings: Preprocessing):
    assert_written_and_read(settings)


@hypothesis.given(names(Preprocessing), ANYTHING)
def test_anything_else_is_refused_by_name(name: str, value: Any):
    assert_right_or_refused(Preprocessing, name, value)


@pytest.mark.parametrize(
    "text, spacing",
    [
        ("None", None),
        ("(1, 2, 3)", (1.0, 2.0, 3.0)),
        ("1,2.5,3", (1.0, 2.5, 3.0)),
        ("[0.5,0.5,0.5]", (0.5, 0.5, 0.5)),
    ],
)
def test_a_spacing_on_the_command_line(text: str, spacing: tuple | None):
    found = changed_by_text(Experiment(), {"data.preprocess.spacing": text})
    assert found.data.preprocess == Preprocessing(spacing=spacing)


@pytest.mark.parametrize("text", ["ct", "(ct,)", "('ct',)"])
def test_a_normalisation_on_the_command_line(text: str):
    found = changed_by_text(Experiment(), {"data.preprocess.normalisation": text})
    assert found.data.preprocess == Preprocessing(normalisation=("ct",))


def test_a_run_from_before_there_was_a_choice_has_the_axes_of_its_files():
    values: Any = Experiment().to_json()
    del values["data"]["preprocess"]
    earlier = from_json(upgraded(values, None), complete=False)
    assert earlier.data.preprocess == Preprocessing(canonical=False)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"spacing": (1, 1)}, "spacing is (1, 1); give 3 numbers"),
        ({"spacing": (1, 1, 0)}, "spacing is (1.0, 1.0, 0.0); give three lengths in mm, or None"),
        ({"spacing": (1, 1, float("nan"))}, "give three lengths in mm, or None"),
        ({"spacing": (1, 1, float("inf"))}, "give three lengths in mm, or None"),
        ({"spacing": "fine"}, "spacing is 'fine', not a list of numbers"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'; there are linear, cubic"),
        ({"labels": "cubic"}, "labels is 'cubic'; there are linear, nearest"),
        ({"margin": -1}, "margin is -1; it must be at least 0"),
        ({"margin": 0.5}, "margin is 0.5, not a whole number"),
        ({"crop": 1}, "crop is 1, not true or false"),
        (
            {"normalisation": ("min_max",)},
            "normalisation[0] is 'min_max'; there are z_score_nonzero, z_score, ct",
        ),
        ({"normalisation": "ct"}, "normalisation is 'ct', not a list"),
        ({"normalisation": ()}, "normalisation is (); give one for all modalities or one for each"),
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, Any], said: str):
    found = refusal(Preprocessing, **wrong)
    assert found.startswith("config.data.preprocess.") and said in found
