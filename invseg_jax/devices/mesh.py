"""The mesh of devices and how batch and state lie on it."""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from invseg_jax.devices.device import Device
from invseg_jax.devices.virtual_devices import cores, largest_divisor, split_cpu
from invseg_jax.errors import UserError

BATCH_AXIS = "data"


def prepare_devices(wanted: int, batch: int) -> None:
    """Splits a CPU into virtual devices; to be called before anything else asks JAX for devices.

    Args:
        wanted: how many, or 0 for as many as there are cores, at most one for each example.
        batch: examples a step.
    """
    split_cpu(wanted or largest_divisor(batch, cores()))


def make_mesh(wanted: int, batch: int, devices: Sequence[Device] | None = None) -> Mesh:
    """A mesh with one axis, "data", over which the batch is spread.

    Args:
        wanted: how many devices, or 0 for all that divide the batch evenly.
        batch: examples a step, over all processes.
        devices: to choose from; by default those that JAX finds.

    Raises:
        UserError: more devices than there are, or than divide the batch.
    """
    if wanted < 0 or batch < 1:
        raise UserError(
            f"config.devices {wanted}, config.data.batch {batch}: give 0 or more devices (0: as "
            "many as divide the batch) and a batch of at least 1"
        )
    devices = jax.devices() if devices is None else devices
    count = wanted or largest_divisor(batch, len(devices))
    if count > len(devices):
        raise UserError(f"config.devices is {count}, but there are {len(devices)}: {devices[:4]}")
    if batch % count:
        raise UserError(
            f"config.data.batch {batch} cannot be spread evenly over {count} devices; "
            f"take a multiple of {count}, or fewer devices (config.devices)"
        )
    grid = np.asarray(devices[:count])
    return Mesh(grid, (BATCH_AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds all of it: parameters, optimiser, metrics."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """The first axis is spread over the devices: images, labels."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXIS))


def place_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Puts this process's examples on its devices, as its part of the batch of all processes."""
    place = partial(jax.make_array_from_process_local_data, over_batch(mesh))
    return {name: place(array) for name, array in batch.items()}


def spread(mesh: Mesh, batch: int) -> NamedSharding:
    """`over_batch` where the devices divide the batch evenly, else `replicated`."""
    return replicated(mesh) if batch % mesh.size else over_batch(mesh)
