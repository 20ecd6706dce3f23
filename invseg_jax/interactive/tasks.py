"""What follows from the task that an experiment names: its training, and its evaluation."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from invseg_jax.errors import UserError
from invseg_jax.evaluation.scoring import evaluate
from invseg_jax.experiment import Experiment
from invseg_jax.files.json_values import JsonObject
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.segmentation.task import SegmentationTask

if TYPE_CHECKING:
    from invseg_jax.interactive.task import InteractiveTask


def open_task(
    experiment: Experiment, root: str | None, say: Callable[[str], None], *, known_by: str
) -> "SegmentationTask | InteractiveTask":
    """Checks the settings, then opens, checks and prepares the data.

    Args:
        experiment: what is trained, and on what.
        root: of the data set; None for the embedded cohort, where the experiment has one.
        say: told one line at a time.
        known_by: what the digests of cases are taken of; see `DataDescription`.

    Raises:
        UserError: a fault of the settings or of the data.
    """
    if experiment.task == "segmentation":
        return SegmentationTask.open(experiment, root, say, known_by=known_by)
    with _extra_named():
        from invseg_jax.interactive.task import InteractiveTask
    return InteractiveTask.open(experiment, root, say, known_by=known_by)


@contextlib.contextmanager
def _extra_named() -> Iterator[None]:
    """Interactive segmentation needs packages that segmentation does not.

    Raises:
        UserError: one of them is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("invseg_jax"):
            raise
        raise UserError(
            f"{error.name} is not installed; interactive segmentation needs it: "
            'python -m pip install "invseg_jax[annotate]"'
        ) from error


def evaluate_run(
    workdir: Path,
    output: Path | None = None,
    *,
    root: str | None = None,
    split: str = "val",
    mirror: tuple[bool, bool, bool] | None = None,
    max_bytes: int | None = None,
    say: Callable[[str], None] = print,
) -> JsonObject:
    """Scores a run of any task on the cases of a split; see `evaluate` and `evaluate_rounds`.

    Raises:
        UserError: as these; or mirror images were asked for, and the run does not make any.
    """
    if SegmentationRun(workdir).read_config().task == "segmentation":
        return evaluate(
            workdir, output, root=root, split=split, mirror=mirror, max_bytes=max_bytes, say=say
        )
    if mirror is not None:
        raise UserError("--mirror: a run of interactive segmentation makes no mirror images")
    with _extra_named():
        from invseg_jax.interactive.evaluating import evaluate_rounds
    return evaluate_rounds(workdir, output, root=root, split=split, max_bytes=max_bytes, say=say)
