import os
import platform
import subprocess
import sys

import pytest

from invseg_jax.devices.main_memory import available

# Frees small pieces below one that is kept, which the C library then holds on to.
FREED = """
from invseg_jax.benchmarks.resident import STATUS
from invseg_jax.devices.main_memory import give_back

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


def test_free_memory_is_bounded_by_the_control_group(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    (groups / "memory").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 8000 kB\nMemAvailable:    6000 kB\nCached: 7 kB\n")
    assert available(proc, groups) == 6000 * 1024
    (groups / "memory.max").write_text("max\n")
    assert available(proc, groups) == 6000 * 1024
    (groups / "memory.max").write_text("1048576\n")
    assert available(proc, groups) == 1048576
    (groups / "memory" / "memory.limit_in_bytes").write_text("4096\n")
    assert available(proc, groups) == 4096
    # Without /proc, the machine's own.
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert available(tmp_path, tmp_path) == whole


JOB = "/slurm/job_7/step_0"


@pytest.mark.parametrize(
    "lines, root, file",
    [
        (f"0::{JOB}\n", "", "memory.max"),
        (f"11:cpu,cpuacct:/other\n4:memory:{JOB}\n0::/\n", "memory", "memory.limit_in_bytes"),
        (f"4:hugetlb,memory:{JOB}\n", "memory", "memory.limit_in_bytes"),
    ],
)
def test_a_job_s_own_limit_counts_and_those_around_it(tmp_path, lines: str, root: str, file: str):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemAvailable: 6000 kB\n")
    (proc / "self" / "cgroup").write_text(lines)
    own = groups / root / JOB.lstrip("/")
    own.mkdir(parents=True)
    (groups / root / "other").mkdir()
    (groups / root / "other" / file).write_text("1\n")  # not this process's
    assert available(proc, groups) == 6000 * 1024
    (own / file).write_text("max\n")
    assert available(proc, groups) == 6000 * 1024
    (own / file).write_text("3000000\n")
    assert available(proc, groups) == 3000000
    # A step's job may be given less than the step, and so may all jobs.
    (own.parent / file).write_text("2000000\n")
    assert available(proc, groups) == 2000000
    (groups / root / file).write_text("1000000\n")
    assert available(proc, groups) == 1000000


@pytest.mark.parametrize("lines", ["0::/../../other\n", "0::/gone (deleted)\n", "nothing\n", ""])
def test_a_group_that_cannot_be_seen_leaves_the_root_s_limit(tmp_path, lines: str):
    proc, groups = tmp_path / "proc", tmp_path / "a" / "b" / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(lines)
    groups.mkdir(parents=True)
    (groups / "memory.max").write_text("2000\n")
    (tmp_path / "a" / "other").mkdir()
    (tmp_path / "a" / "other" / "memory.max").write_text("1\n")
    assert available(proc, groups) == 2000


@pytest.mark.parametrize(
    "root, names, prefix",
    [
        ("", ("memory.max", "memory.current"), ""),
        ("memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_"),
    ],
)
def test_what_a_group_uses_is_taken_off_without_its_copies_of_files(tmp_path, root, names, prefix):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemAvailable: 6000 kB\n")
    (groups / root).mkdir(parents=True)
    for name, value in zip(names, (3_000_000, 1_200_000), strict=True):
        (groups / root / name).write_text(f"{value}\n")
    assert available(proc, groups) == 1_800_000
    stat = f"anon 5\n{prefix}inactive_file 100000\n{prefix}active_file 20000\ninactive_anon 9\n"
    (groups / root / "memory.stat").write_text(stat)
    assert available(proc, groups) == 1_920_000
    # A limit that was lowered below the use leaves nothing.
    (groups / root / names[0]).write_text("1000\n")
    assert available(proc, groups) == 0


def test_there_is_memory_on_this_machine():
    before = available()
    assert before is not None
    assert 0 < before <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


# Under a limit of the address space, takes 200 MiB and prints what was left before and after.
LIMITED = """
import resource
import numpy as np
from invseg_jax.devices.main_memory import available

pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (500 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
before = available()
taken = np.ones(200 << 20, np.uint8)
print(before, available())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_limit_of_the_address_space_counts():
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert before <= 500 << 20
    assert before - after >= 200 << 20
