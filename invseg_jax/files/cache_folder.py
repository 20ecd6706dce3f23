"""Where the cache lies, and how it is kept private to its owner.

Prepared images are patients' images. Folders are made with mode 0700 and files with mode 0600,
whatever the umask says.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from invseg_jax.errors import UserError

Say = Callable[[str], None]

FOLDER_MODE, FILE_MODE = 0o700, 0o600
_PARENT_MODE = 0o755  # of folders above the cache folder that are missing; the umask counts too
# What this package keeps in the cache folder, beside hidden files and programs that tests compile.
_OWN_NAMES = frozenset({"cases", "measurements", "sound", "digests", "compiled", "embedded-iseg"})


def cache_root(say: Say = print) -> Path:
    """The folder for what can be made again: $INVSEG_CACHE, else the user's cache folder.

    A user without a home folder (as in many containers) gets a temporary folder, which is deleted
    when this process ends.

    Args:
        say: told once, in one line, that the folder is a temporary one.

    Raises:
        UserError: there is no home folder, and no temporary folder can be made either.
    """
    if root := os.environ.get("INVSEG_CACHE"):
        return Path(root)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        root = (Path(base) if base else Path.home() / ".cache") / "invseg_jax"
    except RuntimeError:  # neither $HOME nor an entry in the list of users
        return _temporary("no home folder", say)
    if not _can_be_made(root):
        return _temporary(f"{root} cannot be made", say)
    return root


def is_kept() -> bool:
    """Whether the next start finds `cache_root()` again: False where it is a temporary folder."""
    return cache_root() not in _TEMPORARY


def make_private(folder: Path, root: Path | None = None) -> None:
    """Makes a folder that only its owner may enter.

    Folders of this user that are there already, from `root` down to `folder`, are closed to others.
    A `root` that holds other things too (a user may name any folder) stays as it is: it may be
    shared on purpose.

    Args:
        folder: to be made.
        root: the cache folder around it, made too; None if `folder` itself is the cache folder.

    Raises:
        OSError: it cannot be made.
    """
    root = folder if root is None else root
    for part in reversed(root.parents):
        # Who may write there could put another cache in the place of this one.
        part.mkdir(mode=_PARENT_MODE, exist_ok=True)
    for part in reversed((folder, *folder.parents)):
        if part == root or root in part.parents:
            try:
                part.mkdir(mode=FOLDER_MODE, exist_ok=True)
            except FileExistsError as error:
                reason = os.strerror(errno.ENOTDIR)
                raise NotADirectoryError(errno.ENOTDIR, reason, str(part)) from error
            if part != root or _is_own(part):
                _close(part)


def open_private(path: Path) -> BinaryIO:
    """Opens a file for writing, which only its owner may read."""
    file = open(path, "wb")
    with contextlib.suppress(OSError):  # a file system without modes
        os.fchmod(file.fileno(), FILE_MODE)
    return file


_TEMPORARY: dict[Path, tempfile.TemporaryDirectory[str]] = {}


def _temporary(reason: str, say: Say) -> Path:
    """This process's temporary folder, made and reported once."""
    for folder in _TEMPORARY:
        return folder
    try:
        made = tempfile.TemporaryDirectory(prefix="invseg-", ignore_cleanup_errors=True)
    except OSError as error:
        raise UserError(
            f"{reason}, and no temporary folder can be made ({error.strerror or error}); set "
            "INVSEG_CACHE to a folder that can be written to"
        ) from error
    _TEMPORARY[folder := Path(made.name)] = made
    say(f"{reason}: nothing is kept for the next start; set INVSEG_CACHE")
    return folder


def _can_be_made(folder: Path) -> bool:
    """Whether a folder is there, or can be made in its nearest parent that is there."""
    try:
        if folder.exists():
            return True
        there = next(parent for parent in folder.absolute().parents if parent.exists())
    except OSError:  # a parent that may not be searched
        return False
    return os.access(there, os.W_OK | os.X_OK)


def _is_own(root: Path) -> bool:
    """Whether a root holds nothing but what this package keeps there."""
    try:
        names = os.listdir(root)
    except OSError:
        return False
    return all(name in _OWN_NAMES or name.startswith((".", "xla-")) for name in names)


def _close(folder: Path) -> None:
    """Lets this user alone use a folder that belongs to this user."""
    state = folder.stat()
    if state.st_uid == os.geteuid() and stat.S_IMODE(state.st_mode) != FOLDER_MODE:
        with contextlib.suppress(OSError):  # a file system without modes
            folder.chmod(FOLDER_MODE)
