"""Which images the page is for, and the files that belong to each.

The page names a case by its number. No path ever comes from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from invseg_jax.errors import UserError

ENDINGS = (".nii.gz", ".nii")
LABEL = "_label"


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        image: the NIfTI file.
        label: where its label map is saved.
    """

    image: Path
    label: Path

    @property
    def name(self) -> str:
        """The image's file name without its ending."""
        return stem(self.image)

    @property
    def log(self) -> Path:
        """The session's log: every action so far, so that nothing is lost."""
        return self.label.with_name(f"{stem(self.label)}.session.jsonl")


def stem(path: Path) -> str:
    """The name of a NIfTI file without its ending.

    Raises:
        UserError: the name has another ending.
    """
    for ending in ENDINGS:
        if path.name.lower().endswith(ending) and len(path.name) > len(ending):
            return path.name[: -len(ending)]
    raise UserError(f"{path}: the name of an image or a label map must end in .nii.gz or .nii")


def one_case(image: Path, label: Path | None = None) -> list[Case]:
    """The case of one image.

    Args:
        image: the NIfTI file.
        label: where the label map goes; None: beside the image, with "_label" added to the name.

    Raises:
        UserError: there is no such file, or the label map would replace the image.
    """
    if not image.is_file():
        raise UserError(f"{image}: there is no such file; give --image the path of a NIfTI image")
    target = image.with_name(f"{stem(image)}{LABEL}.nii.gz") if label is None else label
    if not target.name.endswith(".nii.gz"):
        raise UserError(
            f"{target}: the name of a label map ends in .nii.gz; give --label such a name"
        )
    if target.resolve() == image.resolve():
        raise UserError(f"{target}: --label would replace the image; give another name")
    return [Case(image, target)]


def folder_cases(folder: Path) -> list[Case]:
    """All images of a folder by name; label maps ("…_label.nii.gz") are left out.

    Raises:
        UserError: it is no folder, or it holds no image.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; give --data a folder of NIfTI images")
    images = [
        path
        for path in sorted(folder.iterdir())
        if path.name.lower().endswith(ENDINGS)
        and not path.name.startswith(".")
        and not stem(path).endswith(LABEL)
        and path.is_file()
    ]
    if not images:
        raise UserError(f"{folder}: holds no image that ends in .nii.gz or .nii")
    return [case for image in images for case in one_case(image)]
