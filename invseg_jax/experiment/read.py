"""From the name of a configuration to its experiment.

A configuration is a Python file with a function `get_config(variant)` that returns an `Experiment`.
It is named by its path, "configs/iseg.py:quick", or by the name under which it is shipped,
"iseg:quick".
"""

import inspect
import runpy
import traceback
from collections.abc import Mapping
from pathlib import Path

from invseg_jax.errors import UserError, arguments_named
from invseg_jax.experiment.changes import changed_by_text
from invseg_jax.experiment.experiment import Experiment

FUNCTION = "get_config"


def read_experiment(name: str, changes: Mapping[str, object] | None = None) -> Experiment:
    """Reads a configuration.

    Args:
        name: FILE.py or FILE.py:VARIANT, or a shipped configuration such as "iseg:quick".
        changes: other values by dotted names, such as {"data.patch": (32, 32, 32)}.

    Raises:
        UserError: there is no such file or variant, it cannot be loaded, or a setting is misspelt
            or has a wrong value.
    """
    with arguments_named():
        experiment = _load(name)
        return experiment.changed(changes) if changes else experiment


def read_with_texts(name: str, changes: Mapping[str, str]) -> Experiment:
    """`read_experiment`, with values as texts of a command line.

    Raises:
        UserError: as `read_experiment`.
    """
    experiment = _load(name)
    return changed_by_text(experiment, changes) if changes else experiment


def shipped() -> dict[str, Path]:
    """The configurations that come with the package: their files by name."""
    package = Path(__file__).resolve().parent.parent
    # In an installed package they lie inside; in a checkout, beside the package.
    for folder in (package / "configs", package.parent / "configs"):
        if found := sorted(folder.glob("[!_]*.py")):
            return {file.stem: file for file in found}
    return {}


def find_file(path: str) -> Path:
    """The file of a configuration.

    Args:
        path: as in `read_experiment`, without the variant.

    Raises:
        UserError: there is no such file, nor a shipped configuration of this name.
    """
    if Path(path).is_file():
        return Path(path)
    known = shipped()
    if path in known:
        return known[path]
    if path.endswith(".py") or "/" in path:
        raise UserError(f"--config cannot be loaded: there is no file {path}")
    raise UserError(
        f"--config cannot be loaded: there is neither a file {path} nor a configuration of this "
        f"name; there are {', '.join(known)}"
    )


def _load(name: str) -> Experiment:
    path, colon, variant = name.partition(":")
    file = find_file(path)
    try:
        found = runpy.run_path(str(file)).get(FUNCTION)
        if not callable(found):
            raise UserError(f"--config cannot be loaded: {file} has no function {FUNCTION}")
        if colon and not inspect.signature(found).parameters:
            raise UserError(f"{file} has no variants; leave :{variant} away")
        experiment = found(variant) if colon else found()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"--config cannot be loaded: {_place_and_message(error, file)}") from error
    if not isinstance(experiment, Experiment):
        raise UserError(
            f"--config cannot be loaded: {FUNCTION} of {file} gives a "
            f"{type(experiment).__name__}, not an Experiment; see invseg_jax.experiment"
        )
    return experiment


def _place_and_message(error: BaseException, file: Path) -> str:
    """Where a file of Python fails, and how: "FILE, line 3: NameError: ..."."""
    name, said = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        where, line, said = error.filename or str(file), error.lineno, error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == str(file)]
        where, line = str(file), own[-1].lineno if own else None
    # A binary file has no lines.
    place = where if line is None else f"{where}, line {line}"
    return f"{place}: {name}: {said}" if said else f"{place}: {name}"
