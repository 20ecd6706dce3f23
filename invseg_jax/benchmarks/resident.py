"""Main memory that a process has, now and at its peak, in bytes."""

import re
import resource
import sys
from pathlib import Path

from invseg_jax.devices.main_memory import give_back

STATUS = Path("/proc/self/status")


def process_peak() -> int:
    """The most that this process has had since it began."""
    # Not `ru_maxrss` on Linux: a child begins with what its parent had.
    if (peak := _status("VmHWM")) is not None:
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def now() -> int:
    """What the process has now, once unused pages have gone back to the system.

    Where the system does not tell, the peak instead.
    """
    give_back()
    resident = _status("VmRSS")
    return process_peak() if resident is None else resident


def _status(name: str) -> int | None:
    """A figure of Linux's status of the process, in bytes."""
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None
