"""What `--input` of the predict command can be."""

from collections.abc import Sequence
from pathlib import Path

from invseg_jax.data.layouts import Case, open_dataset
from invseg_jax.data.layouts.case import ordered
from invseg_jax.errors import UserError

ENDINGS = (".nii.gz", ".nii", ".hdr")


def find_inputs(path: Path, layout: str, modalities: Sequence[str]) -> list[Case]:
    """The cases to segment.

    Args:
        path: an image file, which holds all modalities (4-D where there are several); a folder of
            such files; or the root of a data set in the layout that the network was trained on.
        layout: that layout.
        modalities: names of the channels that the network reads.

    Returns:
        Cases without regard to labels, in order.

    Raises:
        UserError: nothing there, no image, or two images whose results would have the same name.
    """
    if path.is_file():
        return [Case(_id(path), (path,), None)]
    if not path.is_dir():
        raise UserError(f"--input {path} does not exist")
    try:
        return list(open_dataset(layout, path).cases)
    except UserError as error:
        files = [p for p in path.iterdir() if _is_image(p)]
        # A folder of single files can only serve a network of one modality, or of 4-D files.
        if files and (len(modalities) == 1 or layout == "msd"):
            return list(ordered((Case(_id(file), (file,), None) for file in files), path))
        raise UserError(
            f"--input {path} is no data set in the {layout} layout ({error}), and no folder of "
            f"images that each hold the {len(modalities)} modalities {', '.join(modalities)}"
        ) from error


def _is_image(path: Path) -> bool:
    named = path.name.lower().endswith(ENDINGS) and not path.name.startswith(".")
    return named and path.is_file()


def _id(path: Path) -> str:
    for ending in (*ENDINGS, ".img"):
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    raise UserError(f"--input {path} is no image: its name ends in none of {', '.join(ENDINGS)}")
