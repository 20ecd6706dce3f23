"""Bytes that a compiled program sets aside, and bytes that a device has."""

from typing import Any

import jax
from jax.sharding import Mesh

from invseg_jax.devices.device import Device
from invseg_jax.devices.main_memory import available
from invseg_jax.errors import UserError
from invseg_jax.files.byte_size import show_size


def copies(devices: Mesh) -> int:
    """How many of the mesh's devices lie in one memory.

    The virtual devices of a CPU share the machine's; accelerators have one each.
    """
    first = devices.devices.flat[0]
    return len(devices.local_devices) if first.platform == "cpu" else 1


def compiled_bytes(compiled: jax.stages.Compiled, devices: Mesh) -> int:
    """The bytes that a program takes in one memory: of one accelerator, or of the whole CPU.

        arguments + results + temporaries - results that lie where the arguments lay

    On CPUs the compiler's own "peak" leaves the temporaries out. On TPUs the peak also counts the
    program itself, and is what has to fit.

    Raises:
        UserError: the device's compiler tells nothing of it.
    """
    return _bytes(_analysis(compiled), devices)


def _bytes(memory: Any, devices: Mesh) -> int:
    size = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )
    if devices.devices.flat[0].platform == "tpu":
        size = max(size, getattr(memory, "peak_memory_in_bytes", 0))
    return size * copies(devices)


def argument_bytes(compiled: jax.stages.Compiled, devices: Mesh) -> int:
    """The part of `compiled_bytes` that the program is given: state and batch."""
    return _analysis(compiled).argument_size_in_bytes * copies(devices)


def device_bytes(device: Device) -> int | None:
    """The memory of an accelerator that JAX may use, or the free memory of a CPU's machine.

    Returns:
        Bytes; None where it cannot be known.
    """
    if device.platform == "cpu":
        return available()
    statistics = device.memory_stats() or {}
    return statistics.get("bytes_limit")


def shortage(compiled: jax.stages.Compiled, devices: Mesh) -> str | None:
    """One line where a program needs more than its devices have, else None.

    To be asked when the state lies on the devices already.
    """
    device = devices.local_devices[0]
    have = device_bytes(device)
    memory = compiled.memory_analysis()
    if have is None or memory is None:
        return None
    need = _bytes(memory, devices)
    if device.platform == "cpu":
        have += argument_bytes(compiled, devices)
    if need <= have:
        return None
    return (
        f"warning: the training step takes {show_size(need)} and {device.device_kind} has "
        f"{show_size(have)}; python -m invseg_jax.plan --config CONFIG "
        f"--memory {max(have >> 20, 1)}MiB finds what fits"
    )


def _analysis(compiled: jax.stages.Compiled) -> Any:
    memory = compiled.memory_analysis()
    if memory is None:
        raise UserError("this device's compiler does not tell the memory of a program")
    return memory
