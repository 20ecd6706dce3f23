"""Settings of the optimiser, and how they go together with the length of the run."""

import math
from dataclasses import replace

import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import OptimiserSettings, TrainerSettings, base_experiment


@pytest.mark.parametrize(
    "name, value",
    [
        ("name", "adam"),
        ("schedule", "linear"),
        ("power", -0.9),
        ("momentum", 1.0),
        ("accumulate", 0),
        ("learning_rate", -1e-3),
        ("learning_rate", math.nan),
        ("warmup", -1),
        ("weight_decay", -0.1),
        ("clip", -1.0),
        ("clip", 0.0),
        ("average", -0.1),
        ("average", 1.0),
        ("average", 1.5),
        ("average", math.nan),
    ],
)
def test_settings_out_of_range(name: str, value: float):
    with pytest.raises(UserError, match=f"config.optimiser.{name} is ") as caught:
        replace(OptimiserSettings(), **{name: value})
    assert "\n" not in str(caught.value)


def test_settings_at_the_ends_of_their_ranges():
    OptimiserSettings(learning_rate=0, warmup=0, weight_decay=0, clip=math.inf, average=0)
    OptimiserSettings(momentum=0, power=0, accumulate=1)


@pytest.mark.parametrize(
    "name, value",
    [
        ("steps", 0),
        ("log_every", 0),
        ("eval_every", 0),
        ("save_every", 0),
        ("keep", 0),
        ("devices", -1),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_a_run_out_of_range(name: str, value: int):
    with pytest.raises(UserError, match=f"config.{name} is {value}; "):
        TrainerSettings(**{name: value})
    with pytest.raises(UserError, match=f"config.{name} is {value}; "):
        base_experiment().changed({name: value})


def test_a_warm_up_longer_than_the_run_is_refused():
    experiment = base_experiment().changed({"steps": 50})  # as long as the warm-up
    assert experiment.optimiser.warmup == experiment.steps
    said = "^config.optimiser.warmup is 50; the run has only 49 steps: give fewer, or more"
    with pytest.raises(UserError, match=said):
        experiment.changed({"steps": 49})
    assert experiment.changed({"steps": 49, "optimiser.warmup": 1}).steps == 49


def test_patches_a_step():
    experiment = base_experiment().changed({"data.batch": 3, "optimiser.accumulate": 4})
    assert experiment.patches_a_step == 12
