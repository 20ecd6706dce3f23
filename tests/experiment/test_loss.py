"""Settings of the loss."""

import math

import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import LossSettings


@pytest.mark.parametrize(
    "change, said",
    [
        ({"dice": -1.0}, "config.loss.dice is -1.0"),
        ({"dice": math.inf}, "config.loss.dice is inf"),
        ({"cross_entropy": math.nan}, "config.loss.cross_entropy is nan"),
        (
            {"dice": 0.0, "cross_entropy": 0.0},
            "config.loss.dice is 0.0; and so is config.loss.cross_entropy: there is no loss",
        ),
        ({"weights": [1, -1]}, r"config.loss.weights is \(1.0, -1.0\)"),
        ({"weights": (0, 0)}, r"config.loss.weights is \(0.0, 0.0\); .*cross_entropy=0"),
        ({"smoothing": 0.0}, "config.loss.smoothing is 0.0"),
        ({"smoothing": math.nan}, "config.loss.smoothing is nan"),
    ],
)
def test_settings_out_of_range(change: dict, said: str):
    with pytest.raises(UserError, match=said) as caught:
        LossSettings(**change)
    assert "\n" not in str(caught.value)


def test_lists_and_whole_numbers_are_brought_to_their_types():
    settings = LossSettings(weights=[1, 2], dice=1)  # pyright: ignore
    assert settings.weights == (1.0, 2.0) and type(settings.dice) is float
    assert hash(settings) == hash(LossSettings(weights=(1.0, 2.0)))
