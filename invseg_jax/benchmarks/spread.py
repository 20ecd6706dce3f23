"""A batch spread over the virtual devices of a CPU, as training spreads it."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from invseg_jax.devices.virtual_devices import largest_divisor, split_cpu
from invseg_jax.errors import UserError
from invseg_jax.reversible.layer import Array, Params


def prepare(batch: int, threads: int) -> None:
    """Makes a virtual device for each thread, at most one for each example.

    To be called before JAX looks for devices; where it has them already, those are used.

    Raises:
        UserError: a batch of no example.
    """
    if batch < 1:
        raise UserError(f"a batch of {batch}: give at least 1 example")
    split_cpu(largest_divisor(batch, threads))


def place(model: Params, x: Array | np.ndarray) -> tuple[Params, Array]:
    """The model on every CPU device and the batch over them; elsewhere both on the first device."""
    on_cpu = jax.default_backend() == "cpu"
    devices = jax.devices()[: largest_divisor(len(x), jax.device_count()) if on_cpu else 1]
    mesh = Mesh(np.asarray(devices), ("batch",))
    model = jax.device_put(model, NamedSharding(mesh, PartitionSpec()))
    return model, jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
