"""Devices that this machine does not have, for programs that are compiled here and run there.

The TPU compiler comes with the package `libtpu` and needs no TPU: what it compiles has the padded
sizes, the layouts and the memory of the real device. Nothing can be run.
"""

import os

import jax
from jax.experimental import topologies

from invseg_jax.devices.device import Device
from invseg_jax.errors import UserError

# One host of each generation, as the compiler and as its runtime call it. A program for one chip is
# compiled for the first of its devices.
TPU_TOPOLOGIES = {
    "tpu-v4": ("v4:2x2x1", "v4-8"),
    "tpu-v5e": ("v5e:2x2", "v5litepod-4"),
    "tpu-v5p": ("v5p:2x2x1", "v5p-8"),
    "tpu-v6e": ("v6e:2x2", "v6e-4"),
}


def tpu_devices(platform: str) -> list[Device]:
    """The devices of one host of a TPU generation: its chips, or for v4 the two cores of each.

    They serve as the devices of shardings and meshes: `SingleDeviceSharding(tpu_devices(p)[0])` on
    the arguments of a jitted function compiles it for one chip.

    Args:
        platform: a key of `TPU_TOPOLOGIES`.

    Raises:
        UserError: no such platform, or no TPU compiler here.
    """
    if platform not in TPU_TOPOLOGIES:
        raise UserError(f"no TPU is called {platform!r}; there are {', '.join(TPU_TOPOLOGIES)}")
    topology, accelerator = TPU_TOPOLOGIES[platform]
    # Without these libtpu asks the metadata server of a cloud machine, for minutes, and refuses a
    # second process.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", accelerator)
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        description = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{platform} needs the TPU compiler: pip install libtpu, in the version that "
            f"jax[tpu] {jax.__version__} names ({_first_line(error)})"
        ) from error
    return list(description.devices)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
