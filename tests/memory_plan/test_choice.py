from itertools import pairwise
from math import prod
from typing import Any

import pytest

from invseg_jax.experiment import base_experiment
from invseg_jax.memory_plan.choice import Choice, batches, patches


@pytest.mark.parametrize(
    "largest, multiple",
    [
        ((128, 128, 128), 8),
        ((40, 56, 40), 8),
        ((155, 240, 240), 16),
        ((9, 300, 20), 4),
        ((5, 5, 5), 8),
    ],
)
def test_patches_grow_to_the_largest_in_its_proportions(largest, multiple):
    grown = patches(largest, multiple)
    end = tuple(-(-size // multiple) * multiple for size in largest)
    assert grown[0] == tuple(min(2 * multiple, size) for size in end)
    assert grown[-1] == end
    for small, large in pairwise(grown):
        assert prod(large) > prod(small)
        assert all(0 <= b - a <= multiple for a, b in zip(small, large, strict=True))
    for patch in grown:
        assert all(size % multiple == 0 for size in patch)
        # No axis is more than one step ahead of the proportions of another, the start apart.
        if min(patch) > 2 * multiple:
            behind = min(a / b for a, b in zip(patch, end, strict=True))
            assert all((a - multiple) / b <= behind for a, b in zip(patch, end, strict=True))


def test_cubes_stay_cubes():
    assert patches((64, 64, 64), 16) == [(32,) * 3, (48,) * 3, (64,) * 3]


def test_fixed_devices_divide_the_batches():
    assert batches(4, shared=False, fixed=True) == [4, 8, 12, 16, 20, 24, 28, 32]
    assert batches(2, shared=True, fixed=True) == [2, 4, 6, 8]
    assert batches(3, shared=True, fixed=True) == [3, 6]
    assert batches(16, shared=True, fixed=True) == [16]


@pytest.mark.parametrize("cores", [1, 2, 8, 16])
def test_every_batch_up_to_8_is_possible_on_a_cpu(cores: int):
    assert batches(cores, shared=True, fixed=False) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("network", ["FullInvRes", "PartialInvRes", "UNet3D"])
def test_a_choice_goes_into_a_configuration_and_comes_back(network: str):
    experiment = base_experiment(network)
    choice = Choice.of(experiment).wider(1.5).deeper(2.0)
    changed = choice.into(experiment)
    assert Choice.of(changed) == choice
    assert Choice.of(experiment) != choice
    before: Any = experiment.to_json()
    after: Any = changed.to_json()
    before["model"]["settings"] = after["model"]["settings"] = {}
    assert before == after
    assert (choice.couplings is None) == (network == "UNet3D")
    assert (choice.decoder_couplings is None) == (network != "PartialInvRes")


def test_wider_and_deeper():
    choice = Choice((64, 64, 64), 2, (60, 120, 240), 2, (1, 2, 3))
    assert choice.wider(1.0) == choice
    assert choice.wider(1.25).channels == (72, 152, 304)
    assert choice.wider(2.0).channels == (120, 240, 480)
    assert Choice((8, 8, 8), 1, (1, 8)).wider(1.25).channels == (8, 8)
    assert choice.deeper(1.0) == choice
    assert (choice.deeper(1.5).couplings, choice.deeper(1.5).decoder_couplings) == (3, (2, 3, 5))
    assert choice.deeper(2.0).couplings == 4


def test_lines_are_quoted_for_a_shell():
    lines = Choice((64, 56, 40), 2, (32,), 3).lines()
    assert lines == [
        "--config.data.patch='(64,56,40)'",
        "--config.data.batch=2",
        "--config.model.settings.channels='(32,)'",
        "--config.model.settings.couplings=3",
    ]
