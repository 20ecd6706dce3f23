"""Which steps a run has saved, by the names of its folders alone.

Nothing here starts JAX. Whether a checkpoint is damaged shows only when it is read.
"""

from pathlib import Path

from invseg_jax.errors import UserError

DAMAGED = ".damaged"


def saved_steps(checkpoints: Path) -> list[int]:
    """The steps that have a folder, the newest last.

    A checkpoint has another name while it is being written, when it was left half written, and when
    it was set aside as damaged.

    Args:
        checkpoints: the folder of a run's checkpoints; it may be missing.

    Raises:
        UserError: the folder cannot be read, or no folder can have its name.
    """
    try:
        found = [path.name for path in checkpoints.iterdir() if path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(
            f"{checkpoints} cannot be read: {error.strerror}; check the path of the run"
        ) from error
    return sorted(int(name) for name in found if _is_step(name))


def damaged_steps(checkpoints: Path) -> list[str]:
    """The names of the folders that were set aside as damaged."""
    if not checkpoints.is_dir():
        return []
    return sorted(p.name for p in checkpoints.iterdir() if p.is_dir() and DAMAGED in p.name)


def set_aside(checkpoints: Path, step: int) -> Path:
    """Renames the folder of a damaged step, so that the step can be saved again.

    Args:
        checkpoints: the folder of a run's checkpoints.
        step: of the folder to rename.

    Returns:
        Its new path: "500.damaged", or "500.damaged2" and so on where that exists.

    Raises:
        OSError: it cannot be renamed.
    """
    aside, number = checkpoints / f"{step}{DAMAGED}", 1
    while aside.exists():
        number += 1
        aside = checkpoints / f"{step}{DAMAGED}{number}"
    return (checkpoints / str(step)).rename(aside)


def _is_step(name: str) -> bool:
    # `int` reads other digits, blanks and underscores too.
    return name.isascii() and name.isdecimal() and str(int(name)) == name
