"""RUN/history.jsonl: one line of scalars a log step."""

import json
import math
from pathlib import Path
from typing import Any


def read_rows(file: Path) -> list[dict[str, float]]:
    """The rows of a history; other lines are passed over.

    The last line of a killed run may be half written, and the disk may damage any line.

    Args:
        file: it may be missing.

    Returns:
        The rows, each with a whole number "step" and other numbers by name; NaN where a row has
        null.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(row, dict):
            continue
        row = {name: math.nan if value is None else value for name, value in row.items()}
        if all(map(_is_number, row.values())):
            step = row.get("step", math.nan)
            if math.isfinite(step) and step == int(step):
                rows.append({**row, "step": int(step)})
    return rows


def _is_number(value: Any) -> bool:
    if type(value) not in (int, float):
        return False
    try:
        float(value)
    except OverflowError:  # JSON may hold a whole number of hundreds of digits
        return False
    return True
