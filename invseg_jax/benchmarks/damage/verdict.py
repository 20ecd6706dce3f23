"""What becomes of one damaged file: it is found, it does no harm, or the result is wrong."""

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invseg_jax.errors import UserError

CAUGHT, HARMLESS, WRONG, TRACEBACK = "caught", "harmless", "wrong", "tracebacks"
VERDICTS = (CAUGHT, HARMLESS, WRONG, TRACEBACK)

# What a reader found, by name: arrays, or values that can be compared.
Found = Mapping[str, object]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """How one try ended.

    Attributes:
        kind: one of `VERDICTS`.
        said: what the reader said, or the exception.
    """

    kind: str
    said: str


def judge(read: Callable[[Say], Found], sound: Found, earlier: Sequence[Found] = ()) -> Verdict:
    """Reads what may be damaged, and compares it with what was there before.

    Args:
        read: gives what is found; it is given a function to say lines with. What it prints or warns
            about counts as said too.
        sound: what is found where nothing is damaged.
        earlier: results that the reader may fall back to, if it says so.

    Returns:
        caught: one line of an error; or the right result, made anew, or an earlier one, and
        something was said. harmless: the right result, without a word. wrong: another one.
        tracebacks: any other exception, or an error of several lines.
    """
    lines: list[str] = []
    output = io.StringIO()
    try:
        with (
            warnings.catch_warnings(record=True) as warned,
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always", UserWarning)
            found = read(lines.append)
    except UserError as error:
        kind = CAUGHT if len(str(error).splitlines()) == 1 else TRACEBACK
        return Verdict(kind, str(error))
    except Exception as error:
        return Verdict(TRACEBACK, f"{type(error).__name__}: {' '.join(str(error).split())[:150]}")
    lines += output.getvalue().splitlines()
    lines += [str(one.message) for one in warned if issubclass(one.category, UserWarning)]
    said = "; ".join(lines)
    if same(found, sound):
        return Verdict(CAUGHT if said else HARMLESS, said)
    if said and any(same(found, other) for other in earlier):
        return Verdict(CAUGHT, said)
    return Verdict(WRONG, said)


def same(found: Found, expected: Found) -> bool:
    """Whether two results are equal, arrays to the bit and in their type."""
    return found.keys() == expected.keys() and all(
        _equal(value, expected[name]) for name, value in found.items()
    )


def _equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and one.tobytes() == other.tobytes()
    return type(one) is type(other) and one == other
