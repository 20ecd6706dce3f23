"""How the programs of the tests are compiled.

Most of them run once, on a few voxels, and take far longer to compile than to run. So XLA compiles
them quickly, to slower code: the whole suite takes half of the time. A test of the bits that an
optimised program computes compiles with `IN_USE`; a test of memory takes `temporary_bytes`.
"""

import os
from importlib import metadata

import jax

QUICKLY: dict[str, bool | int] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
}
IN_USE: dict[str, bool | int] = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
}
if metadata.version("jaxlib").startswith("0.10."):  # later ones have no such option
    QUICKLY["xla_cpu_use_fusion_emitters"] = False
    IN_USE["xla_cpu_use_fusion_emitters"] = True


def compile_quickly() -> None:
    """Sets XLA's flags, for this process and those that it starts; before the first use of JAX."""
    flags = [f"--{name}={str(value).lower()}" for name, value in QUICKLY.items()]
    os.environ["XLA_FLAGS"] = " ".join([*flags, os.environ.get("XLA_FLAGS", "")]).strip()


def temporary_bytes(lowered: jax.stages.Lowered) -> int:
    """What a program sets aside beside its arguments and results, in use.

    The machine code is made quickly all the same: memory is laid out before it, as
    tests/memory_plan/test_measure.py shows.
    """
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    options: dict = IN_USE | quick  # JAX takes numbers too, and its own type leaves them out
    analysis = lowered.compile(options).memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes
