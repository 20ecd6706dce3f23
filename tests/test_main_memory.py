import platform
import subprocess
import sys

import pytest

# Frees small pieces below one that is kept, which the C library then holds on to.
FREED = """
from invseg_jax.benchmarks.resident import STATUS
from invseg_jax.main_memory import give_back

def now():
    return int(STATUS.read_text().split("VmRSS:")[1].split()[0]) // 1024

pieces = [bytes(2000) for _ in range(100_000)]
kept = pieces[-1]
del pieces
before = now()
give_back()
print(before - now())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the malloc of glibc")
def test_freed_pieces_go_back_to_the_system():
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50  # MiB of some 190
