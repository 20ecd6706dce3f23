"""What the benchmarks' own options have in common."""

import argparse


def at_least_one(text: str) -> int:
    """The value of an option that counts something: a whole number of at least 1.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return value
