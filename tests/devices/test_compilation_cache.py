import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from invseg_jax.devices import compilation_cache

# Compiles two programs and says how many were read and written. A process of its own each time:
# what is tested is JAX's configuration, which holds for a whole process.
PROGRAM = """
import collections, jax, jax.monitoring
from invseg_jax.devices import compilation_cache
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.split("/")[-1]]))
PREPARE
compilation_cache.enable(WANTED, lambda text: print("said:", text))
assert float(jax.jit(lambda x: x * 3)(2.0)) == 6.0
assert float(jax.jit(lambda x: x + 4)(2.0)) == 6.0
print("read", counts["cache_hits"], "written", counts["cache_misses"])
"""


def run(cache: Path, *, wanted: bool = True, prepare: str = "", **environment: str) -> list[str]:
    """The lines that the program prints; it must end well and print nothing else."""
    program = PROGRAM.replace("WANTED", str(wanted)).replace("PREPARE", prepare)
    inherited = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=inherited | {"INVSEG_CACHE": str(cache), "JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("jit_*"))


def test_the_second_process_compiles_nothing(tmp_path: Path):
    assert run(tmp_path) == ["read 0 written 2"]
    assert run(tmp_path) == ["read 2 written 0"]
    folder = tmp_path / "compiled" / compilation_cache.processor()
    assert len(entries(folder)) == 2
    # Whoever may write there may run code here.
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_environment_may_name_the_place(tmp_path: Path):
    place = tmp_path / "place"
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(place)) == ["read 0 written 2"]
    assert len(entries(place / compilation_cache.processor())) == 2
    assert not (tmp_path / "compiled").exists()


def test_it_can_be_turned_off(tmp_path: Path):
    place = str(tmp_path / "place")
    assert run(tmp_path, wanted=False) == ["read 0 written 0"]
    assert run(tmp_path, wanted=False, JAX_COMPILATION_CACHE_DIR=place) == ["read 0 written 0"]
    assert not list(tmp_path.iterdir())


def test_a_bucket_is_left_to_jax(tmp_path: Path):
    # Disabled by the environment, since there is no such bucket.
    place = {"JAX_COMPILATION_CACHE_DIR": "gs://none/x", "JAX_ENABLE_COMPILATION_CACHE": "0"}
    show = "import atexit; atexit.register(lambda: print(jax.config.jax_compilation_cache_dir))"
    assert run(tmp_path, wanted=True, prepare=show, **place) == ["read 0 written 0", "gs://none/x"]
    assert not list(tmp_path.iterdir())


def test_enabling_it_again_does_not_move_it(tmp_path: Path):
    assert run(tmp_path, prepare="compilation_cache.enable()") == ["read 0 written 2"]
    folder = tmp_path / "compiled" / compilation_cache.processor()
    assert len(entries(folder)) == len(list(folder.iterdir())) == 2


def test_programs_for_another_processor_are_left_alone(tmp_path: Path):
    run(tmp_path)
    folder = tmp_path / "compiled" / compilation_cache.processor()
    other = folder.rename(folder.with_name("x86_64-00000000"))
    assert run(tmp_path) == ["read 0 written 2"]
    assert len(entries(other)) == len(entries(folder)) == 2


def test_a_folder_that_another_user_makes_first_is_refused(tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    # Between the look at the cache and its making.
    faster = """
make = compilation_cache.make_private
def make_private(folder, root):
    make(folder, root)
    import os
    os.chown(folder, 54321, 54321)
compilation_cache.make_private = make_private
"""
    said, counted = run(tmp_path, prepare=faster)
    folder = tmp_path / "compiled" / compilation_cache.processor()
    assert said.startswith(f"said: no compilation cache: {folder} belongs to another user")
    assert counted == "read 0 written 0" and list(folder.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_damaged_entries_cost_one_line_and_are_mended(tmp_path: Path, damage: str):
    run(tmp_path)
    folder = tmp_path / "compiled" / compilation_cache.processor()
    for entry in entries(folder):
        content = entry.read_bytes()
        broken = {"cut": content[: len(content) // 2], "empty": b"", "noise": content[::-1]}
        entry.write_bytes(broken[damage])
    said, counted = run(tmp_path)
    assert said.startswith(f"said: compilation cache {folder}: an entry of jit_")
    assert "could not be read" in said
    assert counted == "read 0 written 2"
    assert run(tmp_path) == ["read 2 written 0"]


def test_damaged_entries_that_may_not_be_deleted_cost_one_line(tmp_path: Path):
    run(tmp_path)
    folder = tmp_path / "compiled" / compilation_cache.processor()
    for entry in entries(folder):
        entry.write_bytes(b"")
    # As in a folder that can only be read; root may delete from any.
    refuse = """
def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")
import pathlib
pathlib.Path.unlink = refuse
"""
    said, counted = run(tmp_path, prepare=refuse)
    assert said.startswith(f"said: compilation cache {folder}: an entry of jit_")
    assert "could not be read" in said
    assert counted == "read 0 written 2"


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("what", ["folder", "above", "entry"])
def test_entries_that_others_may_have_made_are_not_run(tmp_path: Path, named: bool, what: str):
    above = tmp_path / "compiled"
    folder = above / compilation_cache.processor()
    place = {"JAX_COMPILATION_CACHE_DIR": str(above)} if named else {}
    assert run(tmp_path, wanted=True, prepare="", **place) == ["read 0 written 2"]
    if what == "entry":
        if os.geteuid() != 0:
            pytest.skip("only root may give a file away")
        os.chown(entries(folder)[0], 54321, 54321)
    else:
        (folder if what == "folder" else above).chmod(0o777)
    before = sorted(folder.iterdir())
    said, counted = run(tmp_path, wanted=True, prepare="", **place)
    assert said.startswith("said: no compilation cache: ")
    guilty = {"folder": folder, "above": above, "entry": entries(folder)[0]}[what]
    assert str(guilty) in said
    assert counted == "read 0 written 0"
    assert sorted(folder.iterdir()) == before


def test_a_cache_that_jax_has_begun_to_use_is_given_up(tmp_path: Path):
    place = tmp_path / "place"
    place.mkdir(mode=0o700)
    place.chmod(0o777)
    early = "jax.jit(lambda x: x * 3 + 7)(1.0); counts.clear()"
    said, counted = run(
        tmp_path,
        prepare=early,
        JAX_COMPILATION_CACHE_DIR=str(place),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    assert "others may write to" in said and counted == "read 0 written 0"
    # What JAX wrote there before the guard is all that there is.
    assert len(entries(place)) == 1


def test_without_a_home_folder_nothing_is_kept(tmp_path: Path):
    homeless = """
from pathlib import Path
def nowhere():
    raise RuntimeError("Could not determine home directory.")
Path.home = nowhere
"""
    said, counted = run(Path(), prepare=homeless, TMPDIR=str(tmp_path), INVSEG_CACHE="")
    assert said == "said: no home folder: nothing is kept for the next start; set INVSEG_CACHE"
    assert counted == "read 0 written 0"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_costs_one_line(tmp_path: Path):
    (tmp_path / "compiled").write_text("a file")
    said, counted = run(tmp_path)
    assert said.startswith("said: no compilation cache: ")
    assert "cannot be made (Not a directory)" in said
    assert counted == "read 0 written 0"


def test_a_full_disk_costs_one_line(tmp_path: Path):
    # Files of this process may hold nothing: the nearest to a full disk that any test can have.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    said, _ = run(tmp_path, prepare=limit)
    assert "could not be written" in said
    # What is left of the entries is no harm later.
    assert run(tmp_path)[-1] == "read 0 written 2"
    assert run(tmp_path) == ["read 2 written 0"]


def test_other_warnings_are_shown_as_ever(tmp_path: Path):
    program = (
        "import warnings; from invseg_jax.devices import compilation_cache;"
        "compilation_cache.enable(); warnings.warn('beware')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"INVSEG_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "UserWarning: beware" in done.stderr


@pytest.mark.parametrize("field", ["flags", "Features"])
def test_a_processor_is_named_by_its_instruction_sets(monkeypatch: pytest.MonkeyPatch, field: str):
    def named(text: str) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", lambda path: text)
            return compilation_cache.processor()

    here = named(f"processor\t: 0\n{field}\t\t: sse avx2\ncpu MHz : 2000\n\nprocessor\t: 1\n")
    assert here == named(f"processor\t: 0\n{field}\t\t: avx2 sse\ncpu MHz : 3000\n")
    assert here != named(f"processor\t: 0\n{field}\t\t: sse avx2 avx512f\ncpu MHz : 2000\n")


def test_a_processor_has_a_name_where_there_is_no_list(monkeypatch: pytest.MonkeyPatch):
    def missing(path: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert os.uname().machine in compilation_cache.processor()
