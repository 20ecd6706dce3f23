"""Says why a file that should be there cannot be read.

Data sets under git-annex (DataLad, OpenNeuro) hold a link for each large file. The link leads
nowhere until the file is fetched.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from pathlib import Path

NO_SUCH_FILE = "no such file; check the path"
_ANNEX = re.compile(r"(^|/)\.git/(.*/)?annex/objects/")
# The last part of such a link: SHA256E-s5023--b5bb9d80.nii.gz. Only files have a key.
_ANNEX_KEY = re.compile(r"[A-Z0-9_]+(-[a-zA-Z][0-9]+)*--.+")


def why_missing(path: str | Path) -> str:
    """Says why there is no file at a path, and what to do.

    Args:
        path: of a file that should be there.

    Returns:
        One line that fits after "PATH: ", or "" where a file is there.
    """
    try:
        if Path(path).is_file():
            return ""
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return _not_found(Path(path))
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "a link that leads back to itself; mend the link"
        if error.errno == errno.ENAMETOOLONG:
            return "the name is too long for the file system; shorten it"
        return f"cannot be read ({error.strerror}); check the path"
    except ValueError:
        return "no file can have this name; mend it"
    if stat.S_ISDIR(mode):
        return "is a folder, not a file; check the path"
    return "is a pipe, a socket or a device, not a file; check the path"


def leads_nowhere(path: str | Path) -> bool:
    """Whether a path is a link whose target is not there."""
    return os.path.islink(path) and not os.path.exists(path)


def stands_for_file(link: str | Path) -> bool:
    """Whether a link that leads nowhere is git-annex's, which has links for files alone."""
    target = os.path.realpath(link)
    return bool(_ANNEX.search(target) and _ANNEX_KEY.fullmatch(os.path.basename(target)))


def _not_found(path: Path) -> str:
    """Looks for a link that leads nowhere: the path itself, or a folder on its way."""
    for link in (path, *path.parents):
        if leads_nowhere(link):
            break
    else:
        return NO_SUCH_FILE
    where = f"a link that leads nowhere, to {os.readlink(link)}"
    where = f"missing, {where}" if link == path else f"missing, because {link} is {where}"
    if any(_ANNEX.search(target) for target in (os.readlink(link), os.path.realpath(link))):
        return f"{where}; `git annex get {shlex.quote(str(path))}` fetches the file"
    return f"{where}; mend the link, or fetch what it stands for"
