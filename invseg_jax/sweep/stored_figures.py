"""Figures that take long to find and are kept beside the runs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from invseg_jax.errors import UserError
from invseg_jax.files.atomic_file import write_atomically
from invseg_jax.files.json_values import JsonObject
from invseg_jax.sweep.grid import Row
from invseg_jax.sweep.run_state import FREE

# The exceptions for JSON that holds something else.
_NO_FIGURES = (ValueError, LookupError, AttributeError, TypeError, RecursionError)


class StoredFigures:
    """A JSON file with figures of each row, good for the settings they were found with."""

    def __init__(self, file: Path, needed: Sequence[str] = ()):
        """Reads the file, if it is there.

        Args:
            file: it may be missing.
            needed: figures, numbers above 0, that each row must have.

        Raises:
            UserError: it is damaged.
        """
        self.file = file
        self._rows: dict[str, JsonObject] = {}
        try:
            self._rows = json.loads(file.read_bytes())
            for name, figures in self._rows.items():
                for figure in needed:
                    if type(figures[figure]) not in (int, float) or not figures[figure] > 0:
                        raise ValueError(f"{name}: {figure} is {figures[figure]!r}")
                if "settings" not in figures:
                    raise ValueError("a row has no settings")
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, *_NO_FIGURES) as error:
            raise UserError(f"{file} cannot be read ({error}); delete it") from error

    def get(self, row: Row) -> JsonObject | None:
        """What is known of a row with its present settings."""
        found = self._rows.get(row.name)
        return found if found is not None and found["settings"] == _digest(row) else None

    def put(self, row: Row, figures: Mapping[str, float]) -> None:
        """Keeps the figures of a row.

        Raises:
            UserError: the file cannot be written.
        """
        self._rows[row.name] = {**figures, "settings": _digest(row)}
        write_atomically(self.file, (json.dumps(self._rows, indent=1) + "\n").encode())


def _digest(row: Row) -> str:
    kept = {key: value for key, value in row.experiment.to_json().items() if key not in FREE}
    settings = json.dumps(kept, sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:16]
