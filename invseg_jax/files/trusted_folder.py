"""Whether a folder can be trusted: only this user and root can change what it holds.

Compiled programs are machine code and run as they are. Whoever may write to their folder, or may
replace the folder, can run code as this user.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_SEARCHABLE = stat.S_IXGRP | stat.S_IXOTH
_MOST_LINKS = 40  # Linux follows no more


def why_distrusted(folder: Path, root: Path) -> str | None:
    """Why a folder cannot be trusted, in words; None if it can be.

    From `root` to `folder` each folder that is there must belong to this user or to root, and
    nobody else may write to it. Above that, others may write where the sticky bit keeps them from
    renaming what is not theirs, as in /tmp. Of symbolic links, all folders they lead through are
    looked at too. All files in `folder` must be this user's or root's, and none of them a link.

    Args:
        folder: it may be missing, and so may folders above.
        root: the folder itself or a folder above, where this package's own folders begin.
    """
    strict = {*_between(folder, root), *_between(_real(folder), _real(root)), _real(folder)}
    for part in dict.fromkeys(_passed(folder)):
        try:
            link, state = part.lstat(), part.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # it will be made, in a folder that only this user may write to
        except OSError as error:
            return f"{part} cannot be looked at ({error.strerror or error})"
        own = part in strict
        sticky = bool(state.st_mode & stat.S_ISVTX) and not own
        if not (_trusted(link.st_uid, own) and _trusted(state.st_uid, own)):
            return f"{part} belongs to another user (number {state.st_uid})"
        if state.st_mode & _WRITABLE and not sticky:
            return f"others may write to {part} (mode {stat.S_IMODE(state.st_mode):04o})"
    return _planted(folder)


def _planted(folder: Path) -> str | None:
    """Names a file in the folder that somebody else has made or may change, or a link."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            try:
                open_to_others = path.parent.stat().st_mode & _SEARCHABLE
                link, state = path.lstat(), path.stat()
            except OSError:
                continue  # another process has just deleted it, or a link that leads nowhere
            if not (_trusted(link.st_uid, True) and _trusted(state.st_uid, True)):
                return f"{path} belongs to another user (number {state.st_uid})"
            if state.st_mode & _WRITABLE and open_to_others:
                return f"others may write to {path} (mode {stat.S_IMODE(state.st_mode):04o})"
            if stat.S_ISLNK(link.st_mode):
                return f"{path} is a symbolic link"
    return None


def _trusted(user: int, own: bool) -> bool:
    """Whether a file's owner can be trusted.

    In a container the folders at the top may belong to a user whom it does not know.
    """
    return user in (0, os.geteuid()) or (not own and user == _unknown_user())


def _unknown_user() -> int | None:
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return None


def _passed(folder: Path) -> Iterator[Path]:
    """All folders and links that the system passes on its way to a folder, the topmost first."""
    at, *rest = folder.absolute().parts
    here, todo, links = Path(at), rest[::-1], 0
    yield here
    while todo:
        name = todo.pop()
        if name == "..":
            here = here.parent
            continue
        yield here / name
        if (here / name).is_symlink() and links < _MOST_LINKS:
            links += 1
            target = Path(os.readlink(here / name))
            if target.is_absolute():
                here = Path(target.anchor)
            todo += [part for part in target.parts if part != target.anchor][::-1]
        else:
            here = here / name


def _from_the_top(folder: Path) -> Iterator[Path]:
    """The folder and all above it, the topmost first."""
    yield from reversed((folder.absolute(), *folder.absolute().parents))


def _between(folder: Path, root: Path) -> list[Path]:
    """The folders from `root` down to `folder`; none if `folder` does not lie in `root`."""
    top = root.absolute()
    return [part for part in _from_the_top(folder) if part == top or top in part.parents]


def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))
