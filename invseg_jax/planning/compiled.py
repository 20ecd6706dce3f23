"""Bytes that a compiled program sets aside, and bytes that a device has."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import jax
from jax.sharding import Mesh

from invseg_jax.errors import UserError
from invseg_jax.planning.size import show_size

# `jax.Device` is no type to a type checker.
Device = Any


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
        return _free_memory()
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


def _free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What can be allocated without swapping, and at most what the control groups allow."""
    limits = (_available(proc / "meminfo"), *_limits(proc / "self" / "cgroup", groups))
    return min((limit for limit in limits if limit is not None), default=None)


def _limits(membership: Path, groups: Path) -> Iterator[int | None]:
    """What each control group allows, from this process's own, as a SLURM job's, to the root."""
    own = _own_groups(membership)
    versions = {
        "": (groups, "memory.max"),
        "memory": (groups / "memory", "memory.limit_in_bytes"),  # version 1
    }
    for controller, (root, file) in versions.items():
        group = PurePosixPath(own.get(controller, "").lstrip("/"))
        if ".." in group.parts:  # it lies beyond what a container sees
            group = PurePosixPath()
        for folder in (group, *group.parents):
            yield _number(root / folder / file)


def _own_groups(membership: Path) -> dict[str, str]:
    """This process's group for each controller; for "" that of version 2.

    Lines are as "0::/path" in version 2 and "4:cpu,memory:/path" in version 1.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except (OSError, ValueError):
        return {}
    return {
        controller: line[2] for line in lines if len(line) == 3 for controller in line[1].split(",")
    }


def _available(meminfo: Path) -> int | None:
    try:
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # missing, or "max"
        return None
