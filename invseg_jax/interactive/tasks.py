"""The task that an experiment names."""

from collections.abc import Callable

from invseg_jax.experiment import Experiment
from invseg_jax.interactive.task import InteractiveTask
from invseg_jax.segmentation.task import SegmentationTask


def open_task(
    experiment: Experiment, root: str | None, say: Callable[[str], None], *, known_by: str
) -> SegmentationTask | InteractiveTask:
    """Checks the settings, then opens, checks and prepares the data.

    Args:
        experiment: what is trained, and on what.
        root: of the data set; None for the embedded cohort, where the experiment has one.
        say: told one line at a time.
        known_by: what the digests of cases are taken of; see `DataDescription`.

    Raises:
        UserError: a fault of the settings or of the data.
    """
    kind = InteractiveTask if experiment.task == "interactive" else SegmentationTask
    return kind.open(experiment, root, say, known_by=known_by)
