"""What a training step waits for its data, and what augmentation takes of it.

    python -m invseg_jax.benchmark pipeline
    python -m invseg_jax.benchmark pipeline --data Task04_Hippocampus --json pipeline.json
    python -m invseg_jax.benchmark pipeline --config configs/brats.py --data Task01_BrainTumour

Without --config it is configs/hippocampus.py:cpu, and then without --data a made-up data set of the
same sizes is written to a temporary folder. With --config the data are those that `train` would be
given: --data, or the configuration's embedded cohort. All is what `train` runs: the cache, Grain's
threads, the compiled step. The devices are waited for after each step, so that the time until the
next batch is there is time in which they have nothing to do. Augmentation is held against the same
step compiled without it, by turns, and against the same transforms in SciPy on the host.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import grain
import jax
import numpy as np

from invseg_jax.benchmarks.cohort import SHAPE, write_cohort
from invseg_jax.benchmarks.compiled import BUFFERS_ONLY
from invseg_jax.benchmarks.host_augmentation import augment_on_host
from invseg_jax.benchmarks.options import at_least_one
from invseg_jax.benchmarks.table import Bound, Column, Row, Table
from invseg_jax.benchmarks.timing import alternate, timed
from invseg_jax.benchmarks.training_loop import TrainingStep, take_steps
from invseg_jax.data.augment import augment
from invseg_jax.data.batches.flips import choose_flips
from invseg_jax.data.batches.pipeline import training_batches
from invseg_jax.data.batches.regions import regions_to_segment
from invseg_jax.data.batches.source import open_source, prepared_split
from invseg_jax.data.batches.split import split_cases
from invseg_jax.data.layouts import Dataset, open_dataset
from invseg_jax.data.prepare.cache import CachedCase, CaseCache
from invseg_jax.devices import mesh
from invseg_jax.experiment import Augmentation, DataSettings, Experiment
from invseg_jax.experiment.read import read_with_texts
from invseg_jax.training.task import HostBatch

CASES = 20
WAIT_LIMIT = 2.0  # per cent of a step, on two processor cores
AUGMENTATION_LIMIT = 10.0
Seconds = dict[str, list[float]]
ALWAYS: dict[str, float] = {
    field.name: 1.0
    for field in dataclasses.fields(Augmentation)
    if field.name.endswith("_probability")
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the tables' own options."""
    parser.add_argument("--config", metavar="FILE", help="[configs/hippocampus.py:cpu]")
    parser.add_argument("--data", metavar="ROOT", help="[made up without --config, else embedded]")
    parser.add_argument("--steps", type=at_least_one, help="for the waiting [40; --quick 4]")
    parser.add_argument("--repeats", type=at_least_one, help="of augmentation [15; --quick 2]")


def prepare(options: argparse.Namespace) -> None:
    """Before JAX looks for devices: those that the training would have."""
    experiment = read_settings(options)
    mesh.prepare_devices(experiment.devices, experiment.data.batch)


def read_settings(options: argparse.Namespace) -> Experiment:
    """The experiment asked for; with --quick a small network on small patches.

    Raises:
        UserError: it cannot be loaded.
    """
    experiment = read_with_texts(options.config or "hippocampus:cpu", {})
    return _shrunk(experiment) if options.quick else experiment


def _shrunk(experiment: Experiment) -> Experiment:
    """One level of 8 channels on patches of 8 voxels, without what needs more than that."""
    model = experiment.model
    changes: dict[str, object] = {
        "data.patch": (8, 8, 8),
        "vae.latent": 0,
        "model.settings.channels": (8,),
    }
    for name in ("couplings", "decoder_couplings"):  # a number, or one for each level
        if isinstance(counts := model.network(name), tuple):
            changes[f"model.settings.{name}"] = counts[:1]
    if model.network("auxiliary"):
        changes["model.settings.auxiliary"] = 0
    return experiment.changed(changes)


def tables(options: argparse.Namespace) -> Iterator[Table]:
    """What is waited for data; what augmentation takes; the same on the host."""
    experiment = read_settings(options)
    with tempfile.TemporaryDirectory(prefix="invseg-pipeline-") as folder:
        dataset, cases = open_cases(experiment.data, options, Path(folder))
        # With --quick nothing is large enough to be worth good code.
        compiler = BUFFERS_ONLY if options.quick and jax.default_backend() == "cpu" else None
        regions = regions_to_segment(experiment.loss, dataset)
        augment, preprocess = experiment.augment, experiment.data.preprocess
        flips = choose_flips(augment, preprocess, dataset.classes, regions)
        experiment = experiment.changed({"augment": augment.settled(flips.probabilities)})
        shape = len(dataset.modalities), len(regions or dataset.classes)
        step = TrainingStep(experiment, *shape, compiler)
        name = options.config or "configs/hippocampus.py:cpu"
        where = (
            f"{name}, {len(cases)} cases of {dataset.name}, a batch of {experiment.patches_a_step}"
        )
        yield waiting(step, experiment, cases, options.steps or (4 if options.quick else 40), where)

        batches = _batches(experiment, cases, step.margin, 0)
        batch = next(batches)
        batches.close()
        repeats = options.repeats or (2 if options.quick else 15)
        steps = {"as configured": step}
        for way, settings in other_settings(experiment.augment).items():
            changed = experiment.changed({"augment": settings})
            steps[way] = TrainingStep(changed, *shape, compiler)
        yield augmentation(steps, batch, repeats, where)
        yield host(experiment, batch, repeats, where)


def open_cases(
    settings: DataSettings, options: argparse.Namespace, folder: Path
) -> tuple[Dataset, list[CachedCase]]:
    """The cases that would be trained on; made up where neither data nor configuration is given."""
    if options.data is not None or options.config is not None:
        say = partial(print, flush=True)
        dataset = open_source(settings, options.data, say)
        return dataset, prepared_split(settings, dataset, say)[0]
    count, shape = (settings.folds, (9, 10, 8)) if options.quick else (CASES, SHAPE)
    dataset = open_dataset("msd", write_cohort(folder / "data", count, shape))
    training, _ = split_cases(settings, dataset.cases)
    cache = CaseCache(dataset, settings.preprocess, folder / "cache")
    return dataset, cache.prepared(training)


def other_settings(configured: Augmentation) -> dict[str, Augmentation]:
    """Augmentation off, and every transform always."""
    return {"none": Augmentation.off(), "all, always": dataclasses.replace(configured, **ALWAYS)}


def waiting(
    step: TrainingStep, experiment: Experiment, cases: Sequence[CachedCase], count: int, where: str
) -> Table:
    """One row for each number of threads that read ahead: none, and as configured."""
    made = Table(
        f"waiting for data: {where}, {count} steps",
        [
            Column("threads", "threads"),
            Column("seconds", "step s", ".3f"),
            Column("wait_ms", "wait ms", ".2f"),
            Column("longest_ms", "longest ms", ".2f"),
            Column("percent", "wait %", ".2f"),
        ],
    )
    for threads in sorted({0, experiment.data.threads}):
        batches = _batches(experiment, cases, step.margin, threads)
        times = take_steps(step, batches, count)
        batches.close()
        made.rows.append(
            {
                "threads": threads,
                "seconds": statistics.median(times.steps),
                "wait_ms": 1e3 * statistics.median(times.waits),
                "longest_ms": 1e3 * max(times.waits),
                "percent": 100 * times.share,
            }
        )
    percent = made.rows[-1]["percent"]
    made.bounds.append(Bound("waiting for data, % of the steps' time", percent, WAIT_LIMIT))
    return made


def augmentation(
    steps: dict[str, TrainingStep], batch: HostBatch, repeats: int, where: str
) -> Table:
    """One row for each compiled step; the share is the median over the rounds."""
    placed = mesh.place_batch(batch, steps["none"].devices)
    calls = {way: partial(step.take, placed) for way, step in steps.items()}
    seconds, processor = by_turns(calls, repeats)
    rows = [
        {
            "way": way,
            "seconds": statistics.median(seconds[way]),
            "processor": statistics.median(processor[way]),
            "percent": _share(seconds, way),
            "processor_percent": _share(processor, way),
        }
        for way in steps
    ]
    percent = rows[0]["percent"]
    return Table(
        f"augmentation in the step: {where}",
        [
            Column("way", "augmentation"),
            Column("seconds", "step s", ".3f"),
            Column("percent", "% of it", ".1f"),
            Column("processor", "processor s", ".3f"),
            Column("processor_percent", "% of it", ".1f"),
        ],
        rows,
        notes=[
            "Shares are medians over the rounds of 1 - (step without) / (step), in per cent; what "
            "is smaller than the machine's noise can be negative.",
            "Processor time, of all cores together, hardly feels what else the machine does.",
        ],
        bounds=[Bound("augmentation, % of the step", percent, AUGMENTATION_LIMIT)],
    )


def host(experiment: Experiment, batch: HostBatch, repeats: int, where: str) -> Table:
    """One row for each settings: compiled for the device, and with SciPy in one thread."""
    rng = np.random.default_rng(experiment.seed)
    devices = mesh.make_mesh(experiment.devices, experiment.data.batch)
    placed = mesh.place_batch(batch, devices)
    key = jax.device_put(jax.random.key(experiment.seed), mesh.replicated(devices))
    configured = experiment.augment
    always = other_settings(configured)["all, always"]
    rows = []
    for way, settings in {"as configured": configured, "all, always": always}.items():
        compiled = jax.jit(partial(augment, settings=settings))
        calls = {
            "compiled": partial(compiled, key, placed["image"], placed["label"]),
            "scipy": partial(augment_on_host, rng, batch["image"], batch["label"], settings),
        }
        seconds, processor = by_turns(calls, 2 * repeats)
        row: Row = {"way": way}
        for name in calls:
            # On the host the time depends on what is drawn, so it is the mean that counts.
            row[f"{name}_ms"] = 1e3 * statistics.mean(seconds[name])
            row[f"{name}_processor_ms"] = 1e3 * statistics.mean(processor[name])
        row["ratio"] = row["scipy_ms"] / row["compiled_ms"]
        rows.append(row)
    return Table(
        f"the augmentation alone: {where}",
        [
            Column("way", "augmentation"),
            Column("compiled_ms", "compiled ms", ".2f"),
            Column("scipy_ms", "SciPy ms", ".1f"),
            Column("ratio", "SciPy / compiled", ".1f"),
            Column("compiled_processor_ms", "processor: compiled ms", ".2f"),
            Column("scipy_processor_ms", "SciPy ms", ".1f"),
        ],
        rows,
        notes=[f"Means of {2 * repeats} batches; SciPy does only what was drawn, in one thread."],
    )


def by_turns(calls: Mapping[str, Callable[[], object]], repeats: int) -> tuple[Seconds, Seconds]:
    """Seconds of each call in every round, by the clock and of the processor."""
    processor: Seconds = {name: [] for name in calls}

    def run(name: str) -> float:
        used = time.process_time()
        took = timed(calls[name])()
        processor[name].append(time.process_time() - used)
        return took

    seconds = alternate({name: partial(run, name) for name in calls}, repeats)
    # `alternate` does not count a first round.
    return seconds, {name: used[1:] for name, used in processor.items()}


def _share(seconds: Seconds, way: str) -> float:
    rounds = zip(seconds[way], seconds["none"], strict=True)
    return 100 * statistics.median(1 - without / with_ for with_, without in rounds)


def _batches(
    experiment: Experiment, cases: Sequence[CachedCase], margin: int, threads: int
) -> grain.DatasetIterator[dict[str, np.ndarray]]:
    """The stream of batches as `train` makes it, with so many threads that read ahead."""
    return training_batches(
        cases,
        dataclasses.replace(experiment.data, threads=threads),
        patches=experiment.patches_a_step,
        seed=experiment.seed,
        margin=margin,
    )
