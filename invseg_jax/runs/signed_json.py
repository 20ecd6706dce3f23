"""JSON files that show when they are damaged: a format number and a digest stand before the rest.

    {
     "format": 4,
     "digest": "crc32:0123abcd",
     ...
    }

Whoever changes such a file on purpose deletes its line "digest". Files of earlier versions have
neither.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from invseg_jax.errors import UserError
from invseg_jax.experiment.upgrade import FORMAT
from invseg_jax.files.json_values import JsonObject, json_checksum

# The formats that this version reads.
_READ = range(2, FORMAT + 1)


class Stored(NamedTuple):
    """What a file holds.

    Attributes:
        values: all keys but "format" and "digest".
        form: the format number; None in files from before there was one.
    """

    values: JsonObject
    form: int | None

    @property
    def complete(self) -> bool:
        """Whether all keys must be there; files of earlier versions may lack some."""
        return self.form == FORMAT


def to_text(values: Mapping[str, object]) -> str:
    """The file's text.

    Args:
        values: what JSON can hold; neither "format" nor "digest" among the keys.
    """
    content = {"format": FORMAT, **values}
    signed = {"format": FORMAT, "digest": _digest(content), **values}
    return json.dumps(signed, indent=1) + "\n"


def read(file: Path) -> Stored:
    """Reads a file and checks its digest.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such file.
        UserError: it cannot be read, is no JSON object, or its digest or format is wrong.
    """
    try:
        content = json.loads(file.read_bytes(), object_pairs_hook=_without_doubles)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise unreadable(file, str(error)) from error
    if not isinstance(content, dict):
        raise unreadable(file, "it is no JSON object")
    digest = content.pop("digest", None)
    if digest is not None and digest != _digest(content):
        raise UserError(
            f"{file} cannot be read: its content does not fit its digest; put back a copy of it, "
            'or delete its "digest" line if you meant the change'
        )
    form = content.pop("format", None)
    if form is None and digest is not None:
        raise unreadable(file, 'it has a "digest" and no "format"')
    if form is not None and (type(form) is not int or form not in _READ):
        raise UserError(
            f"{file} cannot be read: it has the format {form!r}, and this version reads up to "
            f"{FORMAT}; use the version that wrote it"
        )
    return Stored(content, form)


def unreadable(file: Path, fault: str) -> UserError:
    """The error for a file with a fault."""
    return UserError(f"{file} cannot be read: {fault}; correct it or put back a copy of it")


def _digest(content: Mapping[str, object]) -> str:
    return f"crc32:{json_checksum(content):08x}"


def _without_doubles(pairs: list[tuple[str, object]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the key {double!r} stands there twice")
    return found
