"""The JSON files of a run, read and checked: digest, keys and types."""

from pathlib import Path
from typing import Any

from invseg_jax.errors import UserError
from invseg_jax.training import signed_json
from invseg_jax.training.json_types import config_fault, fields_fault


def config_values(run: Path) -> dict[str, Any]:
    """What RUN/config.json holds, with lists in the place of tuples.

    Raises:
        UserError: the folder holds no run, or the file is damaged.
    """
    values, complete = _read(run, "config.json")
    if fault := config_fault(values, complete=complete):
        raise signed_json.unreadable(run / "config.json", fault)
    return values


def field_values(run: Path, name: str, cls: type) -> dict[str, Any]:
    """What a file holds for the fields of a dataclass, with lists in the place of tuples.

    Args:
        run: the folder.
        name: of the file.
        cls: the dataclass. Files of earlier versions may lack fields that have a default.

    Raises:
        UserError: the folder holds no run, or the file is damaged.
    """
    values, complete = _read(run, name)
    if fault := fields_fault(cls, values, complete=complete):
        raise signed_json.unreadable(run / name, fault)
    return values


def _read(run: Path, name: str) -> signed_json.Stored:
    try:
        return signed_json.read(run / name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{run} holds no trained run ({name} is missing); give the --workdir of a training"
        ) from error
