"""Files written whole or not at all."""

import contextlib
import os
import secrets
from pathlib import Path

from invseg_jax.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file such that its name never stands for a half-written one.

    A reader sees the file that was there or the whole new one, also after a crash: the content goes
    to the disk under a temporary name in the same folder, which then takes the place of the old
    file in one step.

    Args:
        path: The file; its folder is made if it is missing.
        content: All that it shall hold.

    Raises:
        UserError: The file cannot be written; an older one of the name is left as it was.
    """
    # Not `tempfile`, whose files only their owner may read: `open` honours the umask.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
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
