import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType

from invseg_jax.devices import mesh
from invseg_jax.errors import UserError
from invseg_jax.models import FullInvResSettings, build
from invseg_jax.training.losses import deeply_supervised
from invseg_jax.training.optimiser import first_state
from invseg_jax.training.step import Loss, make_step

pytestmark = pytest.mark.skipif(jax.device_count() != 2, reason="needs the conftest's 2 devices")


@pytest.mark.parametrize(
    "wanted, batch, devices",
    [(0, 1, 1), (0, 2, 2), (0, 3, 1), (0, 4, 2), (1, 4, 1), (2, 4, 2), (2, 2, 2)],
)
def test_the_mesh_takes_as_many_devices_as_divide_the_batch(wanted, batch, devices):
    made = mesh.make_mesh(wanted, batch)
    assert made.size == devices
    assert made.axis_names == ("data",)
    assert made.axis_types == (AxisType.Auto,)
    assert list(made.devices.flat) == jax.devices()[:devices]


@pytest.mark.parametrize(
    "wanted, batch, said",
    [
        (3, 3, "config.devices is 3, but there are 2"),
        (2, 3, "batch 3 cannot be spread evenly over 2"),
        (-1, 2, "config.devices -1"),
        (0, 0, "config.data.batch 0"),
        (1, -2, "config.data.batch -2"),
    ],
)
def test_a_mesh_that_cannot_be(wanted, batch, said):
    with pytest.raises(UserError, match=said):
        mesh.make_mesh(wanted, batch)


def test_placement():
    devices = mesh.make_mesh(2, 4)
    x = np.arange(24.0, dtype=np.float32).reshape(4, 3, 2)
    spread = jax.device_put(x, mesh.over_batch(devices))
    assert [shard.data.shape for shard in spread.addressable_shards] == [(2, 3, 2)] * 2
    np.testing.assert_array_equal(spread.addressable_shards[1].data, x[2:])
    everywhere = jax.device_put(x, mesh.replicated(devices))
    assert [shard.data.shape for shard in everywhere.addressable_shards] == [(4, 3, 2)] * 2
    assert mesh.spread(devices, 4) == mesh.over_batch(devices)
    assert mesh.spread(devices, 3) == mesh.replicated(devices)


def loss_of(graph: nnx.GraphDef) -> Loss:
    """The default loss of a network, without augmentation."""

    def loss(params, batch, key):
        outputs = nnx.merge(graph, params).outputs(batch["image"], key)
        value, dice = deeply_supervised(outputs, batch["label"])
        return value, {"dice": jnp.mean(dice)}

    return loss


def test_each_device_has_its_share_of_every_part_of_a_batch(pointwise, batch):
    """Gradients accumulated over two parts: no image leaves its device, and one device agrees."""
    graph, params = nnx.split(pointwise())
    optimiser = optax.sgd(1.0)
    step = make_step(loss_of(graph), optimiser, average=0.9, accumulate=2)
    four = {name: np.concatenate([a, a[::-1, ::-1]]) for name, a in batch.items()}
    results = []
    for count in (1, 2):
        devices = mesh.make_mesh(count, 2)
        state = jax.device_put(first_state(params, optimiser, 0), mesh.replicated(devices))
        placed = jax.device_put(four, mesh.over_batch(devices))
        compiled = (
            jax.jit(step, out_shardings=mesh.replicated(devices)).lower(state, placed).compile()
        )
        assert not re.search("all-to-all|all-gather|collective-permute", str(compiled.as_text()))
        results.append(jax.tree.map(np.asarray, compiled(state, placed)[1]))
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, rtol=1e-5)


def test_a_batch_spread_over_two_devices_gives_the_step_of_one(batch):
    settings = FullInvResSettings(channels=(4,), couplings=1, groups=2, auxiliary=0)
    graph, params = nnx.split(build("FullInvRes", 1, 3, settings, seed=0))
    # Plain descent: what is compared is the gradient, which Adam would divide by its own size.
    optimiser = optax.sgd(1.0)
    step = make_step(loss_of(graph), optimiser, average=0.9)
    results = []
    for count in (1, 2):
        devices = mesh.make_mesh(count, 2)
        state = jax.device_put(first_state(params, optimiser, 0), mesh.replicated(devices))
        placed = jax.device_put(batch, mesh.over_batch(devices))
        placed_step = jax.jit(step, out_shardings=mesh.replicated(devices))
        after, metrics = placed_step(state, placed)
        for leaf in jax.tree.leaves((after, metrics)):
            assert len(leaf.devices()) == count
            assert leaf.is_fully_replicated
        results.append((after.params, metrics))
    (one, one_metrics), (two, two_metrics) = results
    for name, value in one_metrics.items():
        np.testing.assert_allclose(two_metrics[name], value, rtol=1e-6, err_msg=name)
    moved = 0.0
    for a, b, start in zip(*map(jax.tree.leaves, (one, two, params)), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-6, rtol=0)
        moved = max(moved, float(np.abs(np.asarray(a) - np.asarray(start)).max()))
    assert moved > 1e-2


def test_devices_that_are_there_already_are_kept():
    before = jax.devices()
    mesh.prepare_devices(1, 4)
    assert jax.devices() == before


SCRIPT = """
import sys
import jax
from invseg_jax.devices import mesh
mesh.prepare_devices(int(sys.argv[1]), int(sys.argv[2]))
print(jax.device_count())
"""


@pytest.mark.parametrize("wanted, batch", [(3, 6), (0, 4)])
def test_a_cpu_is_split_before_jax_starts(repository: Path, wanted: int, batch: int):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(wanted), str(batch)],
        cwd=repository,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    divisors = [d for d in (1, 2, 4) if d <= (cores or 1)]
    assert int(done.stdout) == (wanted or max(divisors))
