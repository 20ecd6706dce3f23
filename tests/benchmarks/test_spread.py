import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.benchmarks.spread import place, prepare
from invseg_jax.errors import UserError


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_batch_lies_on_as_many_devices_as_divide_it(batch: int):
    x = np.arange(4.0 * batch, dtype=np.float32).reshape(batch, 4)
    model, placed = place({"w": jnp.ones(3)}, x)
    count = max(n for n in range(1, jax.device_count() + 1) if batch % n == 0)
    assert len(placed.sharding.device_set) == len(model["w"].sharding.device_set) == count
    assert model["w"].sharding.is_fully_replicated
    assert placed.addressable_shards[0].data.shape == (batch // count, 4)
    np.testing.assert_array_equal(placed, x)


def test_devices_that_are_there_are_used():
    before = jax.devices()
    prepare(64, 8)
    assert jax.devices() == before


def test_no_example_is_no_batch():
    with pytest.raises(UserError, match="^a batch of 0: give at least 1 example$"):
        prepare(0, 2)
