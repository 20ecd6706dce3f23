"""Data set layouts: which files on disk are the images and the label map of which case.

A layout is a module with `open_folder(root) -> Dataset`; it lists files and reads no voxel.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from invseg_jax.data.layouts import iseg, msd
from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.errors import UserError

__all__ = ["LAYOUTS", "Case", "Dataset", "open_dataset"]

LAYOUTS: dict[str, Callable[[Path], Dataset]] = {
    "iseg": iseg.open_folder,
    "msd": msd.open_folder,
}


def open_dataset(layout: str, root: str | Path) -> Dataset:
    """Lists the cases of a data set.

    Args:
        layout: "iseg" (iSeg-2017 and iSeg-2019) or "msd" (Medical Segmentation Decathlon).
        root: the data set's folder.

    Returns:
        The data set, its cases in natural order of their ids.

    Raises:
        UserError: the layout is unknown, the folder is missing or not of this layout, a file that
            should be there is not, or there is no case.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        near = difflib.get_close_matches(layout, LAYOUTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "choose one of these"
        raise UserError(f"no data set layout {layout!r}; there are {', '.join(LAYOUTS)}: {hint}")
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise UserError(f"{root}: {what}; give the folder of the data set")
    return LAYOUTS[layout](root)
