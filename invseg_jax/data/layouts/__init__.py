"""Data set layouts: which files on disk are the images and the label map of which case.

A layout is a module with `open_folder(root) -> Dataset`; it lists files and reads no voxel. Whether
the files that a case should have are there, shows when they are read (`data/checks`).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from invseg_jax.data.layouts import brats2020, iseg, msd, nnunet, plain
from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.errors import UserError
from invseg_jax.experiment import PlainSettings
from invseg_jax.files.missing import leads_nowhere

__all__ = ["LAYOUTS", "Case", "Dataset", "find_layout", "open_dataset"]

LAYOUTS: dict[str, Callable[..., Dataset]] = {
    "brats2020": brats2020.open_folder,
    "iseg": iseg.open_folder,
    "msd": msd.open_folder,
    "nnunet": nnunet.open_folder,
    "plain": plain.open_folder,
}


def open_dataset(layout: str, root: str | Path, settings: PlainSettings | None = None) -> Dataset:
    """Lists the cases of a data set.

    Args:
        layout: "brats2020", "iseg" (iSeg-2017 and iSeg-2019), "msd" (Medical Segmentation
            Decathlon), "nnunet" (its raw data sets, version 2) or "plain" (patterns of file names).
        root: the data set's folder.
        settings: for the layout "plain".

    Returns:
        The data set, its cases in natural order of their ids. Files may be missing and ids may
        repeat; see `data/checks`.

    Raises:
        UserError: the layout is unknown, the folder is missing or not of this layout, or there is
            no case.
    """
    return find_layout(layout, root, settings)()


def find_layout(
    layout: str, root: str | Path, settings: PlainSettings | None = None
) -> Callable[[], Dataset]:
    """What `open_dataset` is about to call: a mistake of the call is told from faulty data.

    Raises:
        UserError: the layout is unknown, the folder is missing, or a setting is wrong.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        near = difflib.get_close_matches(layout, LAYOUTS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "choose one of these"
        raise UserError(f"no data set layout {layout!r}; there are {', '.join(LAYOUTS)}: {hint}")
    with _readable(root):
        if not root.is_dir():
            what = "is a file, not a folder" if root.exists() else "no such folder"
            if leads_nowhere(root):
                what = f"a link that leads nowhere, to {os.readlink(root)}"
            raise UserError(f"{root}: {what}; give the folder of the data set")
    patterns = (plain.Patterns.read(settings),) if layout == "plain" else ()

    def open_folder() -> Dataset:
        with _readable(root):
            return LAYOUTS[layout](root, *patterns)

    return open_folder


@contextmanager
def _readable(root: Path) -> Iterator[None]:
    """A folder that is closed to the user is the user's to open."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{root}: cannot be read ({error}); check the permissions") from error
