"""Where a program is compiled for: this machine's devices, or TPUs that are not there."""

import importlib.util
import re

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from invseg_jax.devices import mesh
from invseg_jax.devices.device import Device
from invseg_jax.devices.topology import TPU_TOPOLOGIES, tpu_devices
from invseg_jax.devices.virtual_devices import cores, split_cpu
from invseg_jax.errors import UserError

PLATFORMS = ("cpu", "gpu", *TPU_TOPOLOGIES)


class Platform:
    """Devices to compile for, and how a configuration is spread over them."""

    def __init__(self, name: str | None = None, topology: str | None = None):
        """Finds the devices.

        Args:
            name: one of `PLATFORMS`; None for what JAX finds here.
            topology: of a TPU slice in chips, "2x2" or "4x4"; None for one chip.

        Raises:
            UserError: no such platform, no such device here, no TPU compiler, or no such slice.
        """
        if name is not None and name not in PLATFORMS:
            raise UserError(f"--platform {name!r}: there are {', '.join(PLATFORMS)}")
        if topology is not None and name not in TPU_TOPOLOGIES:
            raise UserError("--topology is for a TPU: give --platform tpu-v5e or another")
        if name in TPU_TOPOLOGIES and importlib.util.find_spec("libtpu") is None:
            raise UserError(
                f"--platform {name} needs the TPU compiler, the package libtpu (no TPU is needed; "
                "it comes under Google's own terms): pip install \"jax[tpu]=="
                f'{jax.__version__}"'
            )
        if name is None:
            name = jax.default_backend()
            self.devices = jax.devices()
        elif name in TPU_TOPOLOGIES:
            self.devices = _tpu_slice(name, topology) if topology else tpu_devices(name)[:1]
        else:
            self.devices = _devices_here(name)
        self.name = name

    def mesh(self, devices: int, batch: int) -> Mesh:
        """The devices for a batch, as `train` takes them.

        Args:
            devices: how many; 0: as many as divide the batch.
            batch: examples at a time, over all devices.

        Raises:
            UserError: more devices than there are, or than divide the batch.
        """
        return mesh.make_mesh(devices, batch, self.devices)

    @property
    def shared(self) -> bool:
        """Whether the devices share one memory, as a CPU's virtual devices do."""
        return self.devices[0].platform == "cpu"

    @property
    def quick(self) -> dict[str, bool | int] | None:
        """Compiler options that give the same memory sooner; None where there are none.

        On CPUs memory is laid out before machine code is made, and most of the time goes into
        making it fast.
        """
        if self.devices[0].platform != "cpu":
            return None
        return {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def prepare(name: str | None, devices: int) -> None:
    """To be called before JAX looks for devices: a TPU that is not there is not looked for.

    Args:
        name: of the platform, or None.
        devices: how many are wanted; a CPU is split into as many, at least one a core.
    """
    if name == "cpu" or name in TPU_TOPOLOGIES:
        jax.config.update("jax_platforms", "cpu")
    split_cpu(max(devices, cores()))


def _devices_here(name: str) -> list[Device]:
    try:
        return jax.devices(name)
    except RuntimeError as error:
        raise UserError(
            f"--platform {name}: JAX finds no {name} on this machine; run it where there is one, "
            'with JAX\'s plugin installed (pip install "invseg_jax[cuda]")'
        ) from error


def _tpu_slice(name: str, topology: str) -> list[Device]:
    tpu_devices(name)  # prepares the compiler, or says that there is none
    if not re.fullmatch(r"[0-9]+(x[0-9]+){1,2}", topology):
        raise UserError(f"--topology {topology!r}: give the chips along each axis, as 2x2 or 2x2x1")
    generation, _, whole = TPU_TOPOLOGIES[name][0].partition(":")
    # v4 and v5p are three-dimensional.
    missing = whole.count("x") - topology.count("x")
    layout = topology + "x1" * max(missing, 0)
    try:
        described = topologies.get_topology_desc(
            platform="tpu", topology_name=f"{generation}:{layout}"
        )
    except (jax.errors.JaxRuntimeError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--topology {topology} of {name}: {reason}") from error
    return list(described.devices)
