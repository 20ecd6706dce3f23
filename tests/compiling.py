"""How the programs of the tests are compiled.

Most of them run once, on a few voxels, and take far longer to compile than to run. So XLA compiles
them quickly, to slower code: the whole suite takes half of the time. What a test says of the bytes
and bits of a program in use, it says of a program that is compiled with `IN_USE`.
"""

import os
from importlib import metadata

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
