import dataclasses

import pytest

from invseg_jax.configuration import base_config
from invseg_jax.data.augment import Augmentation
from invseg_jax.errors import UserError


def test_the_configuration_has_the_same_defaults():
    config = base_config()
    assert Augmentation.of(config) == Augmentation()
    given = {name: value for name, value in config.augment.items()}
    assert given.pop("flip") is None
    assert given.items() < dataclasses.asdict(Augmentation()).items()
    assert {*given, "flip"} == dataclasses.asdict(Augmentation()).keys()


@pytest.mark.parametrize("flip", [None, (None,), (0.5, 0, 0.25)])
def test_a_flip_that_is_left_open_is_one_half_along_each_axis(flip):
    config = base_config()
    config.augment.flip = flip
    found = Augmentation.of(config)
    assert found.flip == ((0.5, 0.0, 0.25) if flip and None not in flip else (0.5, 0.5, 0.5))
    assert Augmentation.leaves_flip_open(config) == (flip is None or None in flip)


def test_elastic_deformation_and_bias_field_are_off_by_default():
    assert not Augmentation().changes("elastic") and not Augmentation().changes("bias_field")
    assert Augmentation().changes("blur") and Augmentation().resamples


def test_settings_take_lists_and_are_hashable():
    settings = Augmentation(flip=[1, 0, 0], scale=[0.9, 1.1])  # pyright: ignore
    assert settings == Augmentation(flip=(1.0, 0.0, 0.0), scale=(0.9, 1.1))
    assert hash(settings) == hash(Augmentation(flip=(1.0, 0.0, 0.0), scale=(0.9, 1.1)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": (0.5, 0.5)},
        {"flip": (0.5, 0.5, 1.5)},
        {"flip": 0.5},
        {"affine_probability": -0.1},
        {"gamma_probability": float("nan")},
        {"noise_probability": None},
        {"rotation": -5.0},
        {"rotation": "much"},
        {"scale": (1.2, 0.8)},
        {"scale": (0.0, 1.0)},
        {"gamma": (0.5, float("inf"))},
        {"noise": (-1.0, 0.1)},
        {"blur": (-0.5, 1.0)},
        {"blur": (1.0, 0.5)},
        {"elastic": (1.0, 2.0)},
        {"elastic_grid": 0.0},
        {"bias_field": (0.5, 1.5)},
        {"low_resolution": (0.0, 1.0)},
        {"low_resolution": (0.5, 1.5)},
        {"spacing": (1.0, 0.0, 1.0)},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=f"^config.augment.{name} = .*give"):
        Augmentation(**wrong)
