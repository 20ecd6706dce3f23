"""Training and evaluation as one call, whatever the task."""

import os
from collections.abc import Callable
from pathlib import Path

from invseg_jax.data.volumes.nifti import limit_given_back
from invseg_jax.errors import arguments_named
from invseg_jax.experiment import Experiment
from invseg_jax.files.json_values import JsonObject
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.interactive.tasks import evaluate_run, open_task
from invseg_jax.training.trainer import Trainer


def train(
    experiment: Experiment,
    workdir: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains an experiment, and resumes by itself where `workdir` holds a checkpoint.

    Nothing of the process is changed. The command `python -m invseg_jax.train` does the same and
    more: it spreads a batch over a CPU's cores, keeps compiled programs, and saves on SIGTERM.

    Args:
        experiment: what is trained, see `read_experiment`.
        workdir: the run's folder; made where it is missing.
        data: root of the data set; None for the embedded cohort, where the experiment has one.
        say: told one line at a time.

    Returns:
        `workdir`.

    Raises:
        UserError: a fault of the experiment or of the data, and nothing in `workdir` is changed; or
            in the course of training, a loss that is not finite, or a disk that is full.
    """
    with arguments_named(), limit_given_back():
        return _train(experiment, Path(workdir), None if data is None else str(data), say)


def _train(
    experiment: Experiment, workdir: Path, root: str | None, say: Callable[[str], None]
) -> Path:
    run = SegmentationRun(workdir)
    task = open_task(experiment, root, say, known_by=run.known_by())
    Trainer(experiment, experiment.optimiser, run.path, say=say).fit(task)
    return run.path


def evaluate(
    workdir: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    split: str = "val",
    output: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = print,
) -> JsonObject:
    """Scores a run on cases that it was not trained on, and writes the report.

    A run of the task "interactive" plays rounds of annotation, see
    `interactive.evaluating.evaluate_rounds`; the rest is of the task "segmentation".

    Args:
        workdir: the folder that training wrote.
        data: root of a data set in the layout of the training; None: that of the training.
        split: "val": cases that were not trained on; "train": those trained on; "all": both.
        output: folder of summary.json, cases.csv, report.html, label maps and pictures; None:
            `workdir`/eval.
        say: told one line at a time.

    Returns:
        What summary.json holds: "mean" (such as `["mean"]["dice"]["CSF"]`), "cases", "config" and
        "versions".

    Raises:
        UserError: no trained run, no such data, data of other classes or modalities, or no case in
            the split.
    """
    with arguments_named(), limit_given_back():
        return evaluate_run(
            Path(workdir),
            None if output is None else Path(output),
            root=None if data is None else str(data),
            split=split,
            say=say,
        )
