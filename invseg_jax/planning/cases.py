"""How large the cases of a data set are, from the headers of their files alone."""

import statistics
from collections.abc import Callable

import nibabel
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from invseg_jax.configuration import Config
from invseg_jax.data.layouts import Dataset
from invseg_jax.data.source import open_source
from invseg_jax.errors import UserError

CASES = 100  # of which the median is taken


def median_size(
    config: Config, root: str, say: Callable[[str], None]
) -> tuple[Dataset, tuple[int, int, int]]:
    """Opens the data set at `root` and takes the median of each axis over its cases.

    Args:
        config: of the layout.
        root: of the data set.
        say: told which data these are.

    Returns:
        The data set, and voxels along the three axes.

    Raises:
        UserError: no such data set, or a file that cannot be read.
    """
    dataset = open_source(config, root, say)
    sizes = []
    for case in dataset.cases[:CASES]:
        image = case.images[dataset.reference or 0]
        try:
            sizes.append(nibabel.load(image).shape[:3])  # pyright: ignore
        except (OSError, EOFError, ValueError, ImageFileError, HeaderDataError) as error:
            raise UserError(f"{image}: cannot be read ({error})") from error
    d, h, w = (int(statistics.median_high(axis)) for axis in zip(*sizes, strict=True))
    return dataset, (d, h, w)
