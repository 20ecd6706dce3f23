"""Training as one call."""

import os
from collections.abc import Callable
from pathlib import Path

from invseg_jax.data.volumes.nifti import limit_given_back
from invseg_jax.errors import arguments_named
from invseg_jax.experiment import Experiment
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.segmentation.task import SegmentationTask
from invseg_jax.training.trainer import Trainer


def train(
    experiment: Experiment,
    workdir: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    say: Callable[[str], None] = print,
) -> Path:
    """Trains a segmentation network, and resumes by itself where `workdir` holds a checkpoint.

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
    task = SegmentationTask.open(experiment, root, say, known_by=run.known_by())
    Trainer(experiment, experiment.optimiser, run.path, say=say).fit(task)
    return run.path
