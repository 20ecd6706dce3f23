"""Times that can be compared: the candidates take turns, and the median of each counts."""

import statistics
import time
from collections.abc import Callable, Mapping

import jax

Timed = Callable[[], float]


def timed(call: Callable[..., object], *arguments: object) -> Timed:
    """A function that calls, waits for the result to be there, and returns the seconds."""

    def run() -> float:
        begun = time.perf_counter()
        jax.block_until_ready(call(*arguments))
        return time.perf_counter() - begun

    return run


def alternate(candidates: Mapping[str, Timed], repeats: int) -> dict[str, list[float]]:
    """Seconds of each candidate, one after the other in every round.

    What slows a machine for a while then slows all of them. A first round is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(repeats + 1):
        for name, run in candidates.items():
            took = run()
            if number > 0:
                seconds[name].append(took)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each candidate."""
    return {name: statistics.median(values) for name, values in seconds.items()}
