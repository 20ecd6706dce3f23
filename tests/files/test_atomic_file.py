"""Files are written whole, or what was there stays."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from invseg_jax.errors import UserError
from invseg_jax.files.atomic_file import write_atomically


def test_content_goes_to_disk_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "f"
    for content in (b"", b"some\n\x00bytes", b"other"):
        write_atomically(path, content)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_interrupted_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "summary.json"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"summary\.json: cannot be written \(No space left on"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_write_leaves_no_half_file_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    seen = []

    def look(descriptor: int) -> None:
        seen.append(path.exists())
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", look)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert seen == [False]
    assert list(tmp_path.iterdir()) == []


def test_a_reader_keeps_the_file_it_has_opened(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")
    with open(path, "rb") as opened:
        write_atomically(path, b"newer")
        assert opened.read() == b"old"
    assert path.read_bytes() == b"newer"


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "f"
    contents = [bytes([65 + i]) * 50_000 for i in range(4)]
    threads = [threading.Thread(target=write_atomically, args=(path, c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "deeper" / "x"):
        with pytest.raises(UserError, match=r"x: cannot be written .*(not a folder|[Nn]ot a dir)"):
            write_atomically(path, b"new")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_in_place_of_the_file_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "f" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match="f: cannot be written"):
        write_atomically(tmp_path / "f", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is brought to the disk and renamed, in order, by name."""
    made: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        made.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        sync(descriptor)

    def rename(source: Path, target: Path) -> None:
        made.append(("replace", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    return made


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells a descriptor's file by /proc")
def test_content_then_name_then_folder(tmp_path: Path, calls: list[tuple[str, str]]) -> None:
    write_atomically(tmp_path / "f", b"x")
    (first, temporary), *rest = calls
    assert (first, temporary[0], temporary[-4:]) == ("fsync", ".", ".tmp")
    assert rest == [("replace", "f"), ("fsync", tmp_path.name)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells a descriptor's file by /proc")
def test_folders_that_are_made_have_their_names_on_the_disk(
    tmp_path: Path, calls: list[tuple[str, str]]
) -> None:
    write_atomically(tmp_path / "a" / "b" / "f", b"x")
    assert calls[:2] == [("fsync", tmp_path.name), ("fsync", "a")]
    assert calls[-2:] == [("replace", "f"), ("fsync", "b")]


def folder_sync_fails(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    sync = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_that_cannot_sync_folders_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder_sync_fails(monkeypatch, number)
    write_atomically(tmp_path / "new" / "f", b"x")
    assert (tmp_path / "new" / "f").read_bytes() == b"x"


def test_a_disk_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_sync_fails(monkeypatch, errno.EIO)
    with pytest.raises(UserError, match="f: cannot be written .Input/output error"):
        write_atomically(tmp_path / "f", b"x")


@pytest.mark.parametrize("name", ["n" * 255, "\N{GREEK SMALL LETTER ALPHA}" * 127, "n" * 250])
def test_the_longest_names(tmp_path: Path, name: str) -> None:
    for content in (b"one", b"two"):
        write_atomically(tmp_path / name, content)
        assert (tmp_path / name).read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_atomically(tmp_path / "f", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o644
