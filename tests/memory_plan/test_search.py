"""The search on steps whose memory is a formula: what it finds, and how few it compiles."""

from dataclasses import replace
from math import prod
from typing import Any

import pytest

from invseg_jax.devices.virtual_devices import largest_divisor
from invseg_jax.errors import UserError
from invseg_jax.experiment import base_experiment
from invseg_jax.memory_plan.choice import Choice
from invseg_jax.memory_plan.measure import Measured, Rows
from invseg_jax.memory_plan.search import search

GIB = 2**30


def cube(side: int) -> tuple[int, int, int]:
    return side, side, side


def formula(choice: Choice, bend: float = 0.0, free: bool = True) -> Measured:
    """About what FullInvRes takes, with a bend off the straight line."""
    depth = choice.couplings if isinstance(choice.couplings, int) else 1
    parameters = 100 * sum(c * c for c in choice.channels) * depth
    voxels = choice.batch * prod(choice.patch)
    one = int(4 * voxels * choice.channels[0] * (1 + bend * voxels ** (-1 / 3)))
    rows = Rows(
        parameters=parameters,
        averaged=parameters,
        optimiser=2 * parameters,
        gradients=parameters,
        activations=one if free else one * depth,
        workspace=6 * one,
        input=20 * voxels,
    )
    return Measured(rows, devices=1, count=parameters // 4, seconds=0.0)


def find(budget: int, measure=formula, network: str = "FullInvRes", **changes):
    config = base_experiment(network)
    given: dict[str, Any] = dict(devices=1, shared=False, multiple=8) | changes
    return search(config, budget, measure, **given)


@pytest.mark.parametrize("bend", [0.0, 8.0])
@pytest.mark.parametrize("budget", [GIB // 4, GIB // 2, GIB, 3 * GIB, 4 * GIB, 16 * GIB, 80 * GIB])
def test_the_largest_patch_is_found_in_few_compilations(budget: int, bend: float):
    found = find(budget, lambda c: formula(c, bend), vary=["patch", "batch"])
    assert found.measured.rows.total <= budget
    assert (found.choice, found.measured) in found.tried
    assert len(found.tried) <= 7
    side = found.choice.patch[0]
    if side < 128:
        assert found.choice.batch == 1
        larger = Choice(cube(side + 8), 1, found.choice.channels, found.choice.couplings)
        assert formula(larger, bend).rows.total > budget
    elif found.choice.batch < 8:
        larger = Choice(cube(128), found.choice.batch + 1, found.choice.channels, 2)
        assert formula(larger, bend).rows.total > budget


def test_patch_then_batch_then_width_then_depth():
    everything = find(1000 * GIB).choice
    assert everything == Choice((128, 128, 128), 8, (64, 128, 256, 512), 4)
    some = find(GIB).choice
    assert some.patch[0] < 128
    assert (some.batch, some.channels) == (1, (32, 64, 128, 256))
    # The last coupling costs parameters alone.
    assert some.couplings == 4


def test_depth_that_is_not_free_is_not_taken():
    experiment = base_experiment("FullInvRes").changed({"model.memory": "plain"})
    found = search(
        experiment,
        2 * GIB,
        lambda c: formula(c, free=False),
        devices=1,
        shared=False,
        multiple=8,
        vary=["patch", "depth"],
    )
    assert found.measured.rows.total <= 2 * GIB
    assert found.choice.couplings == 2


def test_what_is_not_varied_stays():
    found = find(GIB, vary=["batch"]).choice
    config = Choice.of(base_experiment("FullInvRes"))
    assert (found.patch, found.channels, found.couplings) == (
        config.patch,
        config.channels,
        config.couplings,
    )
    assert found.batch > 1
    only_patch = find(2 * GIB, vary=["patch"]).choice
    assert only_patch.batch == config.batch


def test_a_data_set_limits_the_patch():
    found = find(1000 * GIB, largest_patch=(155, 240, 239), vary=["patch"]).choice
    assert found.patch == (160, 240, 240)


def test_accelerators_are_all_used():
    found = find(1000 * GIB, devices=4)
    assert found.choice.batch == 32
    assert all(choice.batch % 4 == 0 for choice, _ in found.tried)


def on_cores(cores: int, choice: Choice, once: int = 0) -> Measured:
    """The formula in one memory, with a state and `once` bytes of workspace for each device."""
    devices = largest_divisor(choice.batch, cores)
    rows = formula(choice).rows
    state = {name: devices * getattr(rows, name) for name in ("parameters", "averaged")}
    state |= dict(optimiser=devices * rows.optimiser, gradients=devices * rows.gradients)
    rows = replace(rows, **state, workspace=rows.workspace + devices * once)
    return Measured(rows, devices, count=1, seconds=0.0)


def starting(**changes: Any) -> Choice:
    return replace(Choice.of(base_experiment("FullInvRes")), **changes)


@pytest.mark.parametrize("cores", [1, 2, 4, 6, 8, 16])
@pytest.mark.parametrize("once", [0, 20 << 20, 200 << 20])
def test_every_batch_up_to_8_is_looked_at_on_a_cpu(cores: int, once: int):
    def measure(choice: Choice) -> Measured:
        return on_cores(cores, choice, once)

    totals = {b: measure(starting(batch=b)).rows.total for b in range(1, 9)}
    # At each batch's own bytes, and one byte less: then it does not fit, and what does may be
    # smaller or larger.
    for budget in {total - less for total in totals.values() for less in (0, 1)} | {1000 * GIB}:
        if budget < totals[1]:
            continue
        found = find(budget, measure, devices=cores, shared=True, vary=["batch"])
        assert found.choice.batch == max(b for b, total in totals.items() if total <= budget)
        assert found.measured.rows.total <= budget
        assert (found.choice, found.measured) in found.tried
        assert len(found.tried) <= 5
        assert all(choice.batch <= 8 for choice, _ in found.tried)


def test_a_batch_on_fewer_devices_may_fit_where_a_smaller_one_does_not():
    def measure(choice: Choice) -> Measured:
        return on_cores(4, choice, 200 << 20)

    totals = {b: measure(starting(batch=b)).rows.total for b in (4, 5, 8)}
    assert totals[5] < totals[4] < totals[8]
    found = find(totals[5], measure, devices=4, shared=True, vary=["batch"])
    # 4 lie on 4 devices, 5 on one alone.
    assert (found.choice.batch, found.measured.devices) == (5, 1)


def test_devices_that_are_fixed_are_all_used_on_a_cpu():
    experiment = base_experiment("FullInvRes").changed({"devices": 3})
    found = search(
        experiment,
        1000 * GIB,
        lambda c: on_cores(3, c),
        devices=8,
        shared=True,
        multiple=8,
        vary=["batch"],
    )
    assert found.choice.batch == 6
    assert {choice.batch for choice, _ in found.tried} == {3, 6}


def test_channels_that_cannot_be_are_left_out():
    found = find(1000 * GIB, possible=lambda c: c.channels[0] < 60, vary=["width"])
    assert found.choice.channels == (56, 112, 224, 448)


def test_patches_that_cannot_be_are_left_out():
    fits = find(1000 * GIB, possible=lambda c: sum(c.patch) % 3 == 0, vary=["patch"])
    assert sum(fits.choice.patch) % 3 == 0
    # Where none of those that are looked at can be, the configuration's own is taken.
    own = find(1000 * GIB, possible=lambda c: False, vary=["patch"]).choice.patch
    assert own == tuple(base_experiment().data.patch)


def test_a_network_without_couplings():
    assert find(1000 * GIB, network="UNet3D").choice.couplings is None


def test_refused_programs_do_not_fit_whatever_they_say():
    def small_device(choice: Choice) -> Measured:
        measured = formula(choice)
        if measured.rows.total <= GIB:
            return measured
        # Refused, and the size of only a part of it is known.
        rows = Rows(*(value // 100 for value in vars(measured.rows).values()))
        return Measured(rows, 1, 1, 0.0, refused="RESOURCE_EXHAUSTED")

    found = find(100 * GIB, small_device, vary=["patch"])
    assert found.measured.refused is None
    assert len(found.tried) <= 7
    side = found.choice.patch[0]
    larger = Choice(cube(side + 8), 2, found.choice.channels, found.choice.couplings)
    assert formula(larger).rows.total > GIB


def test_nothing_fits():
    with pytest.raises(UserError, match=r"smallest step, patch 16x16x16.* and 1.00 MiB .*channels"):
        find(2**20)
