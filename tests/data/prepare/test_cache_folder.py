"""Where the cache lies, and that nobody but its owner can look into it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from invseg_jax.data.checks.cases import check_cases
from invseg_jax.data.checks.passed import PassedCases
from invseg_jax.data.layouts import open_dataset
from invseg_jax.data.prepare.cache import CaseCache
from invseg_jax.errors import UserError
from invseg_jax.files import cache_folder, file_times
from invseg_jax.files.cache_folder import cache_root, is_kept, make_private


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """No home folder; gives what is said of it."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("INVSEG_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.setattr(cache_folder, "_TEMPORARY", {})
    lines: list[str] = []
    yield lines
    for made in cache_folder._TEMPORARY.values():
        made.cleanup()


def test_only_the_owner_may_read_what_is_cached(write_msd, tmp_path: Path, umask: None) -> None:
    before = os.umask(0o022)
    dataset = open_dataset("msd", write_msd())
    os.umask(before)
    root = tmp_path / "new" / "cache"
    store = CaseCache(dataset, None, root)
    store.prepared(dataset.cases)
    store.fingerprint(dataset.cases)
    found = [root, *root.rglob("*")]
    assert len([path for path in found if path.is_file()]) == 2 * (5 + 2)
    assert {path: mode(path) for path in found} == {
        path: 0o700 if path.is_dir() else 0o600 for path in found
    }


def test_nobody_else_may_write_to_what_is_made_for_the_first_record(
    write_msd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: None
) -> None:
    before = os.umask(0o022)
    dataset = open_dataset("msd", write_msd())
    os.umask(before)
    root = tmp_path / "new" / "home" / "cache"
    monkeypatch.setenv("INVSEG_CACHE", str(root))
    monkeypatch.setattr(file_times, "_SETTLED_NS", -(10**9))
    # What checks data alone prepares no case.
    assert check_cases(dataset, dataset.cases, sound=PassedCases()) == []
    found = [root, *root.rglob("*")]
    assert sorted(path.name for path in root.iterdir()) == ["digests", "sound"]
    assert len([path for path in found if path.is_file()]) == 2 * (2 + 1)
    assert [path for path in found if mode(path) & 0o077] == []
    for above in list(root.parents)[:2]:
        assert mode(above) & 0o022 == 0


def test_folders_of_earlier_versions_are_closed(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    for part in (root, root / "cases", root / "sound"):
        part.mkdir()
        part.chmod(0o775)
    make_private(root / "cases", root)
    assert mode(root) == mode(root / "cases") == 0o700


def test_a_folder_that_is_shared_for_other_things_stays_open(tmp_path: Path) -> None:
    root = tmp_path / "project"
    (root / "images").mkdir(parents=True)
    root.chmod(0o755)
    make_private(root / "cases", root)
    assert (mode(root), mode(root / "cases")) == (0o755, 0o700)


def test_a_folder_of_another_user_is_left_to_him(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder away")
    root = tmp_path / "cache"
    root.mkdir(mode=0o755)
    os.chown(root, 54321, 54321)
    make_private(root / "cases", root)
    assert (mode(root), mode(root / "cases")) == (0o755, 0o700)


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(OSError):
        make_private(tmp_path / "cache" / "cases", tmp_path / "cache")


def test_without_a_home_it_is_a_temporary_folder_said_once(homeless: list[str]) -> None:
    root = cache_root(homeless.append)
    assert root.is_dir() and mode(root) == 0o700
    assert cache_root(homeless.append) == root
    assert homeless == ["no home folder: nothing is kept for the next start; set INVSEG_CACHE"]
    assert not is_kept()


def test_a_named_folder_needs_no_home(
    homeless: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_root(homeless.append) == tmp_path / "x" / "invseg_jax"
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "y"))
    assert cache_root(homeless.append) == tmp_path / "y"
    assert homeless == [] and is_kept() and list(tmp_path.iterdir()) == []


def test_no_temporary_folder_either_is_one_line(
    homeless: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_folder.tempfile, "TemporaryDirectory", full)
    with pytest.raises(UserError, match="no home folder, and no temporary .*No space left.*; set"):
        cache_root(homeless.append)


# Of a user whom the system does not know, with an environment of one variable.
STRANGER = """
import os, sys
from pathlib import Path
from invseg_jax.files.cache_folder import cache_root
os.setuid(54321)
os.environ.clear()
os.environ.update(dict(item.split("=", 1) for item in sys.argv[1:]))
root = cache_root()
cache_root()
print(root, root.is_dir(), oct(root.stat().st_mode & 0o777) if root.is_dir() else "")
"""


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ((), "no home folder"),
        (("HOME=/",), "/.cache/invseg_jax cannot be made"),
        (("HOME=/proc/nowhere",), "/proc/nowhere/.cache/invseg_jax cannot be made"),
    ],
)
def test_a_user_without_an_entry_in_the_list_of_users(
    repository: Path, environment: tuple[str, ...], reason: str
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, *environment],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said, shown = done.stdout.splitlines()
    assert said == f"{reason}: nothing is kept for the next start; set INVSEG_CACHE"
    folder, there, found = shown.split()
    assert (there, found) == ("True", "0o700")
    assert not Path(folder).exists()  # deleted at the end of the process
