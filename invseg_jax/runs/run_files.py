"""The JSON files of a run, read and checked: digest, keys and types."""

from pathlib import Path

from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment
from invseg_jax.experiment.stored import from_json
from invseg_jax.experiment.upgrade import upgraded
from invseg_jax.files.json_types import fields_fault
from invseg_jax.files.json_values import JsonObject
from invseg_jax.runs import signed_json


def experiment_of(run: Path) -> Experiment:
    """What RUN/config.json holds; settings of earlier versions are upgraded.

    Raises:
        UserError: the folder holds no run, or the file is damaged.
    """
    stored = _read(run, "config.json")
    try:
        # Those with a format have had the same keys ever since, or are given them here.
        return from_json(upgraded(stored.values, stored.form), complete=stored.form is not None)
    except UserError as error:
        raise signed_json.unreadable(run / "config.json", str(error)) from error


def field_values(run: Path, name: str, cls: type) -> JsonObject:
    """What a file holds for the fields of a dataclass, with lists in the place of tuples.

    Args:
        run: the folder.
        name: of the file.
        cls: the dataclass. Files of earlier versions may lack fields that have a default.

    Raises:
        UserError: the folder holds no run, or the file is damaged.
    """
    stored = _read(run, name)
    # The fields of these files are those of the format before.
    complete = stored.form is not None
    if fault := fields_fault(cls, stored.values, complete=complete):
        raise signed_json.unreadable(run / name, fault)
    return stored.values


def _read(run: Path, name: str) -> signed_json.Stored:
    try:
        return signed_json.read(run / name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{run} holds no trained run ({name} is missing); give the --workdir of a training"
        ) from error
