"""The scores of rounds: means, a CSV file, and a table to print."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import numpy as np
from rich.table import Table


@dataclass(frozen=True)
class RoundScore:
    """One round of one object.

    Attributes:
        case: the case and the object.
        prompt: what the hand drew.
        choice: how the slice was chosen; "interpolated": the slices of "predicted", interpolated.
        seed: of random choices.
        round: counted from 1.
        dice: of the whole object.
        surface_dice: the same, at 2 mm.
        seconds: that the round took the method.
    """

    case: str
    prompt: str
    choice: str
    seed: int
    round: int
    dice: float
    surface_dice: float
    seconds: float


Means = dict[str, dict[str, list[float]]]


def means(scores: Sequence[RoundScore], what: Literal["dice", "surface_dice", "seconds"]) -> Means:
    """Means over objects and seeds: by prompt and choice, one number a round.

    Args:
        scores: all rounds.
        what: which number.
    """
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for score in scores:
        rounds = found.setdefault(score.prompt, {}).setdefault(score.choice, {})
        rounds.setdefault(score.round, []).append(getattr(score, what))
    return {
        prompt: {
            choice: [float(np.mean(rounds[number])) for number in sorted(rounds)]
            for choice, rounds in choices.items()
        }
        for prompt, choices in found.items()
    }


def csv_text(scores: Sequence[RoundScore]) -> str:
    """One line a round, a header first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(RoundScore)])
    for score in scores:
        writer.writerow(
            [round(v, 6) if isinstance(v, float) else v for v in asdict(score).values()]
        )
    return text.getvalue()


def table(found: Means) -> Table:
    """Dice by round, one row a prompt and choice."""
    shown = Table(title="Dice by round")
    shown.add_column("prompt")
    shown.add_column("slices chosen")
    rounds = max(len(row) for choices in found.values() for row in choices.values())
    for number in range(1, rounds + 1):
        shown.add_column(str(number), justify="right")
    for prompt, choices in found.items():
        for choice, row in choices.items():
            shown.add_row(prompt.replace("_", " "), choice, *(f"{value:.3f}" for value in row))
    return shown
