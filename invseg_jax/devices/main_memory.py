"""Main memory: what this process may still take, and what it has freed and not given back."""

import contextlib
import ctypes
import gc
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def give_back() -> None:
    """Returns unused pages to the system; does nothing where the C library cannot.

    Compiling a program, or reading one from the compilation cache, frees hundreds of MiB in small
    pieces, which the C library keeps. The arrays of a training step are too large to be made of
    them, so that they would come on top.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def available(proc: Path = _PROC, groups: Path = _GROUPS) -> int | None:
    """Bytes of main memory that this process may still take.

    The smallest of: what the machine can give without swapping; of each control group around the
    process, such as a SLURM job or a container, its limit less its use; and the process's own limit
    (`ulimit -v`) less its address space.

    Args:
        proc: where the system describes itself and this process.
        groups: where it describes the control groups.

    Returns:
        Bytes, not negative; None where none of these can be found out.
    """
    limits = (_free(proc / "meminfo"), *_limits(proc / "self" / "cgroup", groups), _own(proc))
    least = min((limit for limit in limits if limit is not None), default=None)
    return None if least is None else max(least, 0)


def _limits(membership: Path, groups: Path) -> Iterator[int | None]:
    """What each control group leaves, from this process's own, as a SLURM job's, to the root."""
    own = _own_groups(membership)
    versions = {
        "": (groups, "memory.max", "memory.current", ""),
        # Version 1.
        "memory": (
            groups / "memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_",
        ),
    }
    for controller, (root, limit, use, prefix) in versions.items():
        group = PurePosixPath(own.get(controller, "").lstrip("/"))
        if ".." in group.parts:  # it lies beyond what a container sees
            group = PurePosixPath()
        for folder in (group, *group.parents):
            whole = _number(root / folder / limit)
            if whole is not None:
                yield whole - _used(root / folder, use, prefix)


def _used(group: Path, use: str, prefix: str) -> int:
    """What a control group holds, without cached files, which the system drops when needed."""
    copies = 0
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in (f"{prefix}inactive_file", f"{prefix}active_file"):
                copies += int(value)
    return max((_number(group / use) or 0) - copies, 0)


def _own_groups(membership: Path) -> dict[str, str]:
    """This process's group for each controller; the group of version 2 stands under "".

    Lines are as "0::/path" in version 2 and "4:cpu,memory:/path" in version 1.
    """
    try:
        lines = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except (OSError, ValueError):
        return {}
    return {
        controller: line[2] for line in lines if len(line) == 3 for controller in line[1].split(",")
    }


def _free(meminfo: Path) -> int | None:
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


def _own(proc: Path) -> int | None:
    """What the process's limit of address space leaves; None where there is no limit."""
    try:
        import resource  # not on Windows

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return None
        pages = int((proc / "self" / "statm").read_text().split()[0])
        return limit - pages * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # missing, or "max"
        return None
