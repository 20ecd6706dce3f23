"""What `--input` of the predict command can be."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from invseg_jax.data.layouts import Case, nnunet, open_dataset
from invseg_jax.data.layouts.case import ordered, refuse_repeated_ids, some
from invseg_jax.data.layouts.names import ending_of, without_ending
from invseg_jax.data.volumes.nifti import volume_files
from invseg_jax.errors import UserError
from invseg_jax.experiment import PlainSettings
from invseg_jax.files.missing import NO_SUCH_FILE, why_missing

ENDINGS = (".nii.gz", ".nii", ".hdr")
# Layouts that keep images of all cases in one folder, where there may be more than are listed.
FLAT = ("msd", "nnunet")


def find_inputs(
    path: Path,
    layout: str,
    modalities: Sequence[str],
    settings: PlainSettings | None = None,
) -> list[Case]:
    """The cases to segment.

    Args:
        path: an image file, which holds all modalities (4-D where there are several); a folder of
            such files, or of nnU-Net's CASE_0000.nii.gz where that is the layout; the root of a
            data set in the layout that the network was trained on; or the folder of one case of it.
        layout: that layout.
        modalities: names of the channels that the network reads.
        settings: of the training, for the layout "plain".

    Returns:
        Cases without regard to labels, in order. Some may lack files.

    Raises:
        UserError: nothing there, no image, files missing of every case, or two images whose results
            would have the same name.
    """
    refuse_missing_input(path)
    if not os.path.isdir(path):
        return [Case(_id(path), (path,), None)]
    try:
        cases = open_dataset(layout, path, settings).cases
    except UserError as error:
        try:
            cases = _images(path, layout, modalities) if layout in FLAT else ()
            cases = cases or _within(path, layout, settings) or _images(path, layout, modalities)
        except OSError as closed:
            raise UserError(
                f"--input {path}: cannot be read ({closed.strerror}); check its permissions"
            ) from closed
        if not cases:
            raise UserError(
                f"--input {path} is no data set in the {layout} layout ({error}), and no folder of "
                f"images that each hold the {len(modalities)} modalities {', '.join(modalities)}"
            ) from error
    refuse_repeated_ids(cases, path)
    missing = [_missing_files(case) for case in cases]
    if all(missing):
        files = [file for of_case in missing for file in of_case]
        reasons = {why_missing(file) for file in files}
        said = f"no such file: {some(files)}"
        if reasons != {NO_SUCH_FILE}:
            said = f"no file: {some(files)} (the first: {why_missing(files[0])})"
        raise UserError(f"--input {path}: {said}; every case needs all of {', '.join(modalities)}")
    return list(cases)


def refuse_missing_input(path: Path) -> None:
    """Refuses an `--input` that is neither a file nor a folder.

    Raises:
        UserError: it is not there, or leads nowhere.
    """
    # pathlib's `is_dir` fails where a name is too long, or a folder on the way is closed.
    reason = "" if os.path.isdir(path) else why_missing(path)
    if reason:
        said = " does not exist" if reason == NO_SUCH_FILE else f": {reason}"
        raise UserError(f"--input {path}{said}")


def cases_around(
    folder: Path, layout: str, settings: PlainSettings | None = None
) -> tuple[Case, ...]:
    """The cases of the data set that a folder is, or lies in; empty where there is no data set.

    Args:
        folder: need not be there.
        layout: of the data set.
        settings: for the layout "plain".
    """
    folder = Path(os.path.realpath(folder))  # `resolve` fails where a link leads to itself
    for root in (folder, folder.parent):
        with contextlib.suppress(UserError):
            return open_dataset(layout, root, settings).cases
    return ()


def _within(path: Path, layout: str, settings: PlainSettings | None) -> tuple[Case, ...]:
    """The cases of the data set around a folder whose images all lie in the folder."""
    folder, cases = path.resolve(), cases_around(path, layout, settings)
    return tuple(case for case in cases if all(folder in image.parents for image in case.images))


def _images(path: Path, layout: str, modalities: Sequence[str]) -> tuple[Case, ...]:
    """The cases of a folder that holds nothing but images; empty where it is no such folder."""
    if layout == "nnunet" and (cases := nnunet.image_cases(path, len(modalities))):
        return cases
    # A folder of single files can only serve a network of one modality, or of 4-D files.
    if len(modalities) > 1 and layout != "msd":
        return ()
    # Header and voxels of a pair are one image, and one of the two may be missing.
    images = dict.fromkeys(volume_files(file)[0] for file in path.iterdir() if _is_image(file))
    return ordered(Case(_id(image), (image,), None) for image in images)


def _missing_files(case: Case) -> list[Path]:
    return [file for image in case.images for file in volume_files(image) if why_missing(file)]


def _is_image(path: Path) -> bool:
    """Whether a path has the name of an image and is no folder; a dangling link counts too."""
    named = bool(ending_of(path.name)) and not path.name.startswith(".")
    return named and not path.is_dir()


def _id(path: Path) -> str:
    if ending_of(path.name):
        return without_ending(path.name)
    raise UserError(f"--input {path} is no image: its name ends in none of {', '.join(ENDINGS)}")
