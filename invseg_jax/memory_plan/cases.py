"""How large the cases of a data set are once they are prepared."""

from collections.abc import Callable

from invseg_jax.data.batches.source import open_source, training_fingerprint
from invseg_jax.data.layouts import Dataset
from invseg_jax.experiment import DataSettings


def median_size(
    settings: DataSettings, root: str, say: Callable[[str], None]
) -> tuple[Dataset, tuple[int, int, int]]:
    """Opens the data set at `root` and takes the median of each axis over its training cases.

    Args:
        settings: of the layout, the preprocessing and the fold.
        root: of the data set.
        say: told which data these are.

    Returns:
        The data set, and voxels along the three axes.

    Raises:
        UserError: no such data set, or a faulty case.
    """
    dataset = open_source(settings, root, say)
    fingerprint = training_fingerprint(settings, dataset, say)
    return dataset, fingerprint.median_size(settings.preprocess.spacing)
