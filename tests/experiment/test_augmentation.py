"""Settings of the augmentation: defaults, what is left open, and what is refused."""

import dataclasses
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from invseg_jax.experiment import Augmentation, Experiment, base_experiment
from tests.experiment.sections import (
    ANYTHING,
    assert_right_or_refused,
    assert_typed,
    assert_written_and_read,
    names,
    refusal,
)

PROBABILITY = st.floats(0, 1)


def ranges(low: float, high: float) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(low, high), st.floats(low, high)).map(lambda r: (min(r), max(r)))


RIGHT = st.builds(
    Augmentation,
    flip=st.none() | st.tuples(PROBABILITY, PROBABILITY, PROBABILITY),
    affine_probability=PROBABILITY,
    rotation=st.floats(0, 180),
    scale=ranges(0.1, 10),
    spacing=st.none() | st.tuples(*[st.floats(0.01, 10)] * 3),
    elastic_grid=st.floats(0.1, 100),
    noise=ranges(0, 5),
    bias_field=ranges(1, 3),
    low_resolution=ranges(0.1, 1),
    gamma=ranges(0.1, 3),
)


def test_an_experiment_has_the_defaults():
    assert Experiment().augment == base_experiment().augment == Augmentation()
    assert_typed(Augmentation())


def test_elastic_deformation_and_bias_field_are_off_by_default():
    assert not Augmentation().changes("elastic") and not Augmentation().changes("bias_field")
    assert Augmentation().changes("blur") and Augmentation().resamples


@pytest.mark.parametrize("flip", [None, (0.5, 0, 0.25)])
def test_a_flip_that_is_left_open_is_one_half_along_each_axis(flip):
    found = Augmentation(flip=flip)
    assert found.flip_probabilities == ((0.5, 0.0, 0.25) if flip else (0.5, 0.5, 0.5))


def test_what_is_left_open_is_settled_and_what_is_given_stays():
    settled = Augmentation().settled((0.0, 0.5, 0.5), (1.0, 1.0, 3.0))
    assert (settled.flip, settled.spacing) == ((0.0, 0.5, 0.5), (1.0, 1.0, 3.0))
    assert settled.settled((1.0, 1.0, 1.0), (2.0, 2.0, 2.0)) == settled
    # Nobody may know how large voxels are.
    assert Augmentation().settled((0.5, 0.5, 0.5)).spacing is None
    assert Augmentation().voxel_size == (1.0, 1.0, 1.0)
    assert settled.voxel_size == (1.0, 1.0, 3.0)


def test_off_draws_nothing():
    off = Augmentation.off()
    assert off.flip == (0.0, 0.0, 0.0) and not off.resamples
    names = [f.name for f in dataclasses.fields(off) if f.name.endswith("_probability")]
    assert len(names) == 9 and all(getattr(off, name) == 0 for name in names)


def test_settings_take_lists_and_are_hashable():
    settings = Augmentation(flip=[1, 0, 0], scale=[0.9, 1.1])  # pyright: ignore
    assert settings == Augmentation(flip=(1.0, 0.0, 0.0), scale=(0.9, 1.1))
    assert hash(settings) == hash(Augmentation(flip=(1.0, 0.0, 0.0), scale=(0.9, 1.1)))


@hypothesis.given(RIGHT)
def test_what_is_written_is_read(settings: Augmentation):
    assert_written_and_read(settings)


@hypothesis.given(names(Augmentation), ANYTHING)
def test_anything_else_is_refused_by_name(name: str, value: Any):
    assert_right_or_refused(Augmentation, name, value)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"flip": (0.5, 0.5)}, "is (0.5, 0.5); give 3 numbers"),
        ({"flip": (0.5, 0.5, 1.5)}, "give a number between 0 and 1"),
        ({"flip": 0.5}, "is 0.5, not a list of numbers"),
        ({"flip": (None,)}, "give 3 numbers"),
        ({"affine_probability": -0.1}, "give nothing below 0"),
        ({"gamma_probability": float("nan")}, "give finite numbers"),
        ({"noise_probability": None}, "is None, not a number"),
        ({"noise_probability": True}, "is True, not a number"),
        ({"rotation": -5.0}, "give nothing below 0"),
        ({"rotation": "much"}, "is 'much', not a number"),
        ({"scale": (1.2, 0.8)}, "give the lower end first"),
        ({"scale": (0.0, 1.0)}, "give numbers above 0"),
        ({"gamma": (0.5, float("inf"))}, "give finite numbers"),
        ({"noise": (-1.0, 0.1)}, "give nothing below 0"),
        ({"blur": (-0.5, 1.0)}, "give nothing below 0"),
        ({"blur": (1.0, 0.5)}, "give the lower end first"),
        ({"elastic": (1.0, 2.0)}, "is (1.0, 2.0), not a number"),
        ({"elastic_grid": 0.0}, "give numbers above 0"),
        ({"bias_field": (0.5, 1.5)}, "give nothing below 1"),
        ({"low_resolution": (0.0, 1.0)}, "give numbers above 0"),
        ({"low_resolution": (0.5, 1.5)}, "give a number between 0 and 1"),
        ({"spacing": (1.0, 0.0, 1.0)}, "give numbers above 0"),
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, Any], said: str):
    (name,) = wrong
    found = refusal(Augmentation, **wrong)
    assert found.startswith(f"config.augment.{name} is ") and said in found
