"""Files written whole or not at all."""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from invseg_jax.errors import UserError

# The errors of file systems that cannot sync a folder, or do not let this user open it for that.
_CANNOT = (
    errno.EINVAL,
    errno.ENOTSUP,
    errno.ENOSYS,
    errno.ENOTTY,
    errno.EBADF,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file such that its name never stands for a half-written one.

    A reader sees the old file or the whole new one, also after a crash: the content goes to the
    disk under a temporary name in the same folder, which then replaces the old file in one step.
    When this returns, content and name are on the disk, and a power cut changes neither (the name
    only where the file system can sync folders).

    Args:
        path: The file; its folder is made if it is missing.
        content: All that it shall hold.

    Raises:
        UserError: The file cannot be written; an older one of the name is left as it was.
    """
    # Not `tempfile`, whose files only their owner may read: `open` honours the umask. The temporary
    # name does not contain the file's own name, which may have the greatest length already.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        _make_folder(path.parent)
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or error
        if isinstance(error, FileExistsError):
            reason = f"{path.parent} is not a folder"
        raise UserError(
            f"{path}: cannot be written ({reason}); free some space or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where its file system can do that.

    Raises:
        OSError: The disk has failed.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def _make_folder(folder: Path) -> None:
    """Makes a folder and the missing folders above, and waits until their names are on the disk."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_folder(made.parent)
