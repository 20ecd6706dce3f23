"""One process at a time at work in a folder."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from invseg_jax.errors import UserError

LOCK = ".lock"


@contextlib.contextmanager
def folder_lock(folder: Path, work: str) -> Iterator[None]:
    """Keeps others out of a folder while the block runs.

    The system frees it however the process ends, kill -9 included: no lock is ever stale. What
    holds it is the file `LOCK`, which stays. A file system without locks is used without.

    Args:
        folder: made if it is missing.
        work: what goes on there, for the message: "a training".

    Raises:
        UserError: another process is at work there, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("ab")
    except FileExistsError as error:
        raise UserError(f"cannot write to {folder}: it is not a folder") from error
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{work} is at work in {folder} already; wait for it, end it, or give another "
                "folder"
            ) from error
        except OSError:
            pass
        yield
