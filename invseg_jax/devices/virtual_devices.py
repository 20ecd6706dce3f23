"""A CPU's cores as devices of their own, over which a batch is spread.

A loop in a compiled CPU program runs on one core, and the convolutions here are loops. With the
batch spread over virtual devices the cores work side by side.
"""

import os

import jax


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def largest_divisor(number: int, at_most: int) -> int:
    """Of a positive number: over how many of `at_most` devices so many examples can be spread."""
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)


def split_cpu(count: int) -> None:
    """Splits the CPU into virtual devices; to be called before JAX looks for devices.

    Where it has them already (a notebook, a test), those are used. Accelerators are left as they
    are.
    """
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        pass
