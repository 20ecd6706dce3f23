"""Networks compared across processes: parameters, peak of memory, median time."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from invseg_jax.benchmarks.timing import alternate, medians
from invseg_jax.benchmarks.worker import Worker, WorkerError
from invseg_jax.files.json_values import JsonObject

MIB = 2**20
JAX = "invseg_jax.benchmarks.jax_worker:network"
TORCH = "invseg_jax.benchmarks.torch_worker:network"
# What a row has the ratios of, and what they are called.
RATIOS = {"peak_ratio": "peak_mib", "grown_ratio": "grown_mib", "time_ratio": "seconds"}

Candidates = Mapping[str, tuple[str, JsonObject]]


def in_processes(
    candidates: Candidates,
    repeats: int,
    *,
    reference: str,
    together: bool = True,
    report: Callable[[str], None] = lambda name: None,
) -> list[JsonObject]:
    """One row a candidate.

    Args:
        candidates: by name the function of its worker and the settings of that.
        repeats: rounds.
        reference: the candidate that the ratios refer to.
        together: whether all processes live at once and take turns; otherwise each ends before the
            next begins, since one device could not hold them all.
        report: told the name of each candidate as it begins.

    Returns:
        Rows with network, parameters, before_mib, peak_mib, grown_mib, seconds and the ratios; for
        ours also compiled_mib, what the program takes on one device, and compiling_mib, the peak of
        a process before that compiled it; a remark instead where a candidate failed.
    """
    rows: list[JsonObject] = []
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
) -> Sequence[JsonObject]:
    rows: dict[str, JsonObject] = {name: {"network": name} for name in candidates}
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory(prefix="invseg-benchmark-"))
        workers: dict[str, Worker] = {}
        for name, (function, settings) in candidates.items():
            report(name)
            worker = None
            try:
                if function == JAX:
                    settings = {**settings, "cache": cache}
                    rows[name]["compiling_mib"] = _compile(settings) / MIB
                worker = stack.enter_context(Worker(function, settings))
                rows[name] |= _begin(worker, function)
            except WorkerError as error:
                rows[name]["remark"] = str(error)
                if worker is not None:
                    worker.close()
            else:
                workers[name] = worker

        def take_step(name: str) -> float:
            try:
                return workers[name].number("step")
            except WorkerError as error:  # the others go on
                rows[name].setdefault("remark", str(error))
                return math.nan

        runs = {name: partial(take_step, name) for name in workers}
        for name, seconds in medians(alternate(runs, repeats)).items():
            if "remark" in (row := rows[name]):
                continue
            try:
                peak = workers[name].number("peak") / MIB
            except WorkerError as error:
                row["remark"] = str(error)
            else:
                row |= {"seconds": seconds, "peak_mib": peak, "grown_mib": peak - row["before_mib"]}
    return list(rows.values())


def _begin(worker: Worker, function: str) -> JsonObject:
    """Builds the network and takes a first step."""
    begun: JsonObject = {"before_mib": worker.number("baseline") / MIB}
    worker.ask("build")
    begun["parameters"] = worker.ask("parameters")
    worker.ask("step")
    if function == JAX:
        begun["compiled_mib"] = worker.number("compiled") / MIB
    return begun


def _compile(settings: JsonObject) -> int:
    """Fills the compilation cache; the peak of the process that did it.

    Compiling takes memory of its own, on GPUs for what the compiler tries out. Every start of a
    training but the first finds the program in the cache, and so does the one that is measured.
    """
    with Worker(JAX, settings) as worker:
        worker.ask("baseline")
        worker.ask("build")
        return int(worker.number("peak"))
