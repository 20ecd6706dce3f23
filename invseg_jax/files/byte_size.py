"""Sizes of memory as people write them."""

import re

from invseg_jax.errors import UserError

_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _UNITS[f"{_letter}B"] = 1000**_power
    _UNITS[f"{_letter}IB"] = 1024**_power


def parse_size(text: str) -> int:
    """Reads a size: "16GiB", "16 GB", "500MiB", "1.5gib", or a number of bytes.

    KiB, MiB, GiB and TiB count in powers of 1024; KB, MB, GB and TB in powers of 1000.

    Returns:
        Bytes, at least 1.

    Raises:
        UserError: the text is no such size.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(found[2].upper()) if found else None
    size = int(float(found[1]) * unit) if found and unit else 0
    if size < 1:
        raise UserError(f"{text!r} is no size of memory; write it as 16GiB, 16GB or 500MiB")
    return size


def show_size(size: float) -> str:
    """Bytes in the largest binary unit that leaves three digits or fewer: "3.91 GiB", "59.1 MiB".

    Negative sizes keep their sign; below 1 KiB the bytes are given.
    """
    amount, unit = abs(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 999.5:
            break
        amount, unit = amount / 1024, larger
    digits = 0 if unit == "B" or amount >= 99.95 else 1 if amount >= 9.995 else 2
    return f"{'-' if size < 0 else ''}{amount:.{digits}f} {unit}"
