"""Networks compared across processes: parameters, peak of memory, median time."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from invseg_jax.benchmarks.timing import alternate, medians
from invseg_jax.benchmarks.worker import Worker, WorkerError

MIB = 2**20
JAX = "invseg_jax.benchmarks.jax_worker:network"
TORCH = "invseg_jax.benchmarks.torch_worker:network"
# What a row has the ratios of, and what they are called.
RATIOS = {"peak_ratio": "peak_mib", "grown_ratio": "grown_mib", "time_ratio": "seconds"}

Candidates = Mapping[str, tuple[str, Mapping[str, Any]]]


def in_processes(
    candidates: Candidates,
    repeats: int,
    *,
    reference: str,
    together: bool = True,
    report: Callable[[str], None] = lambda name: None,
) -> list[dict[str, Any]]:
    """One row a candidate.

    Args:
        candidates: by name the function of its worker and the settings of that.
        repeats: rounds.
        reference: the candidate that the ratios refer to.
        together: whether all processes live at once and take turns; otherwise each ends before the
            next begins, since one device could not hold them all.
        report: told the name of each candidate as it begins.

    Returns:
        Rows with network, parameters, before_mib, life_mib, peak_mib, grown_mib, seconds and the
        ratios; compiled_mib for ours; a remark instead where a candidate failed.
    """
    rows: list[dict[str, Any]] = []
    groups = [candidates] if together else [{name: made} for name, made in candidates.items()]
    for group in groups:
        rows += _measure(group, repeats, report)
    ours = next(row for row in rows if row["network"] == reference)
    for row in rows:
        for ratio, key in RATIOS.items():
            # Memory that has not grown is no denominator.
            if row.get(key) is not None and ours.get(key) is not None and ours[key] > 0:
                row[ratio] = row[key] / ours[key]
    return rows


def _measure(
    candidates: Candidates, repeats: int, report: Callable[[str], None]
) -> Sequence[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {name: {"network": name} for name in candidates}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, (function, settings) in candidates.items():
            report(name)
            worker = stack.enter_context(Worker(function, settings))
            try:
                rows[name] |= _begin(worker, function)
            except WorkerError as error:
                rows[name]["remark"] = str(error)
                worker.close()
            else:
                workers[name] = worker
        runs = {name: lambda worker=worker: worker.ask("step") for name, worker in workers.items()}
        for name, seconds in medians(alternate(runs, repeats)).items():
            row, peak = rows[name], workers[name].ask("peak") / MIB
            row |= {"seconds": seconds, "peak_mib": peak, "grown_mib": peak - row["before_mib"]}
    return list(rows.values())


def _begin(worker: Worker, function: str) -> dict[str, Any]:
    """Builds the network and takes a first step."""
    begun: dict[str, Any] = {"before_mib": worker.ask("baseline") / MIB}
    worker.ask("build")
    begun["parameters"] = worker.ask("parameters")
    worker.ask("step")
    begun["life_mib"] = worker.ask("peak") / MIB
    if function == JAX:
        begun["compiled_mib"] = worker.ask("compiled") / MIB
    worker.ask("settle")
    return begun
