"""Folders that others own or may write to are not trusted."""

import os
from pathlib import Path

import pytest

from invseg_jax.files.trusted_folder import why_distrusted

STRANGER = 54321


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cache with a folder of compiled programs, as this user makes it."""
    root = tmp_path / "above" / "cache"
    folder = root / "compiled" / "cpu"
    folder.mkdir(parents=True)
    (folder / "jit_f").write_bytes(b"code")
    for path in (root, *root.rglob("*")):
        path.chmod(0o700)
    root.parent.chmod(0o755)
    return root


def give_away(path: Path, **how: bool) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a file away")
    os.chown(path, STRANGER, STRANGER, **how)


def fault(root: Path) -> str | None:
    return why_distrusted(root / "compiled" / "cpu", root)


def test_a_folder_of_this_user_is_trusted(root: Path) -> None:
    assert fault(root) is None
    for mode in (0o755, 0o750):  # others may read: that is a matter of privacy
        (root / "compiled").chmod(mode)
        assert fault(root) is None


def test_a_folder_that_is_not_there_yet_is_trusted(root: Path) -> None:
    assert why_distrusted(root / "new" / "deeper", root) is None
    assert why_distrusted(root.parent / "other" / "new", root.parent / "other") is None


@pytest.mark.parametrize("part", ["", "compiled", "compiled/cpu"])
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o1777])
def test_others_may_write_to_a_folder_of_the_cache(root: Path, part: str, mode: int) -> None:
    (root / part).chmod(mode)
    assert fault(root) == f"others may write to {root / part} (mode {mode:04o})"


@pytest.mark.parametrize("part", ["", "compiled", "compiled/cpu"])
def test_another_user_owns_a_folder_of_the_cache(root: Path, part: str) -> None:
    give_away(root / part)
    assert fault(root) == f"{root / part} belongs to another user (number {STRANGER})"


def test_above_the_cache_the_sticky_bit_counts(root: Path) -> None:
    root.parent.chmod(0o1777)
    assert fault(root) is None
    root.parent.chmod(0o775)
    assert fault(root) == f"others may write to {root.parent} (mode 0775)"


def test_who_owns_a_folder_above_may_put_another_in_its_place(root: Path) -> None:
    give_away(root.parent)
    assert fault(root) == f"{root.parent} belongs to another user (number {STRANGER})"


def test_an_entry_that_another_user_has_planted(root: Path) -> None:
    planted = root / "compiled" / "cpu" / "below" / "jit_g"
    planted.parent.mkdir(mode=0o700)
    planted.touch()
    assert fault(root) is None
    give_away(planted)
    assert fault(root) == f"{planted} belongs to another user (number {STRANGER})"


def test_an_entry_that_others_may_write_to(root: Path) -> None:
    entry = root / "compiled" / "cpu" / "jit_f"
    entry.chmod(0o664)
    assert fault(root) is None  # nobody else reaches it
    entry.parent.chmod(0o755)
    assert fault(root) == f"others may write to {entry} (mode 0664)"


def test_a_link_is_followed_to_the_real_folder(root: Path, tmp_path: Path) -> None:
    real = tmp_path / "shared"
    real.mkdir()
    real.chmod(0o700)
    (root / "linked").symlink_to(real)
    assert why_distrusted(root / "linked", root) is None
    real.chmod(0o777)
    assert (
        why_distrusted(root / "linked", root)
        == f"others may write to {root / 'linked'} (mode 0777)"
    )
    real.chmod(0o700)
    real.parent.chmod(0o777)
    assert why_distrusted(root / "linked", root) == f"others may write to {real.parent} (mode 0777)"


def test_the_parents_of_a_link_count_too(root: Path, tmp_path: Path) -> None:
    open_place = tmp_path / "open"
    open_place.mkdir()
    open_place.chmod(0o777)
    (open_place / "link").symlink_to(root)
    through = open_place / "link" / "compiled"
    assert why_distrusted(through, through) == f"others may write to {open_place} (mode 0777)"


def test_a_link_of_another_user(root: Path) -> None:
    (root / "link").symlink_to(root / "compiled")
    assert why_distrusted(root / "link", root) is None
    give_away(root / "link", follow_symlinks=False)
    assert "belongs to another user" in str(why_distrusted(root / "link", root))


def test_a_folder_between_two_links_counts_too(root: Path, tmp_path: Path) -> None:
    between, real = tmp_path / "between", tmp_path / "real"
    for folder in (between, real):
        folder.mkdir(mode=0o700)
    (between / "second").symlink_to(os.path.relpath(real, between))
    (root / "first").symlink_to(between / "second")
    assert why_distrusted(root / "first", root) is None
    between.chmod(0o777)
    assert why_distrusted(root / "first", root) == f"others may write to {between} (mode 0777)"
    between.chmod(0o700)
    give_away(between)
    assert f"{between} belongs to another" in str(why_distrusted(root / "first", root))


def test_links_in_a_circle_lead_nowhere(root: Path) -> None:
    (root / "one").symlink_to(root / "two")
    (root / "two").symlink_to(root / "one")
    assert "cannot be looked at" in str(why_distrusted(root / "one", root))


def test_an_entry_is_no_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "code").touch()
    entry = root / "compiled" / "cpu" / "jit_g"
    entry.symlink_to(tmp_path / "code")
    assert fault(root) == f"{entry} is a symbolic link"
