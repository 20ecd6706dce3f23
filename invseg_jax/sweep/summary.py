"""The figures of the table: of each row over its runs."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from invseg_jax.evaluation.metrics import nan_mean, nan_std
from invseg_jax.sweep.grid import Row, Vary
from invseg_jax.sweep.run_state import Result

# By their keys in summary.json; of IoU and the regions the table has the mean alone.
SCORES = {"dice": "Dice", "iou": "IoU", "region_dice": "Dice of the regions"}


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over runs; the latter NaN for one, both for none."""

    mean: float
    sd: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Of the values that are numbers."""
        array = np.array(list(values), np.float64)
        return cls(float(nan_mean(array)), float(nan_std(array)))


@dataclass(frozen=True)
class Summary:
    """A row and what came of it.

    Attributes:
        row: the configuration.
        wanted: runs.
        results: those that are finished.
        memory: `parameters` and `bytes`, as of `step_memory.measure_run`; None if not known.
    """

    row: Row
    wanted: int
    results: Sequence[Result]
    memory: Mapping[str, int] | None

    def scores(self, kind: str, name: str = "mean") -> list[float]:
        """One a run; NaN where it has no such score."""
        return [r.scores.get(kind, {}).get(name, float("nan")) for r in self.results]

    def spread(self, kind: str, name: str = "mean") -> Spread:
        """Of a score over the runs."""
        return Spread.of(self.scores(kind, name))

    @property
    def steps(self) -> int | None:
        """Of its runs."""
        return self.results[0].steps if self.results else None

    @property
    def step_seconds(self) -> float:
        """The median over its runs; NaN if not known."""
        finite = [r.step_seconds for r in self.results if np.isfinite(r.step_seconds)]
        return statistics.median(finite) if finite else float("nan")

    @property
    def minutes(self) -> float:
        """That its steps take, without compiling, validating and saving."""
        return (self.steps or 0) * self.step_seconds / 60


@dataclass(frozen=True)
class Outcome:
    """All that there is to show.

    Attributes:
        rows: of the table.
        vary: the varied setting, or None.
        failed: runs by name, and why.
    """

    rows: Sequence[Summary]
    vary: Vary | None
    failed: Mapping[str, str]

    def names(self, kind: str) -> list[str]:
        """The classes or regions that any run has a score of, then "mean"; none where none has."""
        found = {
            name: None for row in self.rows for r in row.results for name in r.scores.get(kind, {})
        }
        return [*(name for name in found if name != "mean"), "mean"] if found else []
