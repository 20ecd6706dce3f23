"""Plain folders: one pattern of file names for each modality and one for the label maps.

    config.data.layout = "plain"
    config.data.plain.images = (("mr", "*/mr_t1.nii.gz"), ("pet", "*/pet.nii.gz"))
    config.data.plain.label = "*/tumour.nii.gz"
    config.data.plain.classes = (("tumour", 1),)
    config.data.plain.reference = "mr"

Here STS_002/mr_t1.nii.gz, STS_002/pet.nii.gz and STS_002/tumour.nii.gz are the case STS_002: what
`*` stands for is the case's id. Several `*` in one pattern are joined with "_", and what repeats is
taken once, so that `*/*_t1.nii.gz` finds BraTS_7/BraTS_7_t1.nii.gz as BraTS_7.

A link that leads nowhere counts as the file or the folder that should be there, so that its case is
listed, and found to be incomplete.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from invseg_jax.data.layouts.case import Dataset, cases_of_id, ordered
from invseg_jax.data.layouts.names import ENDINGS, Folders, composed, ending_of, spelling
from invseg_jax.data.volumes.nifti import MAX_LABEL
from invseg_jax.errors import UserError
from invseg_jax.experiment import PlainSettings
from invseg_jax.files.missing import leads_nowhere, stands_for_file, why_missing

Value = TypeVar("Value", str, int)
_KEY = "config.data.plain"
# The name in `classes` of the value that stands for voxels that nobody labelled.
_IGNORE = "ignore"
# Folders of the file system at the root of a disk, which are closed.
_SYSTEM = ("lost+found", "System Volume Information")


@dataclass(frozen=True)
class Patterns:
    """Which files are which, from `config.data.plain`.

    Attributes:
        images: the pattern of each modality, in the order of the channels.
        label: the pattern of the label maps, or "".
        classes: the value on disk of each class but the background, which is 0.
        ignore: the value of voxels that nobody labelled, named "ignore" among the classes.
        reference: number of the modality onto whose grid the others are resampled, or None.
    """

    images: dict[str, str]
    label: str
    classes: dict[str, int]
    ignore: int | None
    reference: int | None

    @classmethod
    def read(cls, settings: PlainSettings | None) -> Patterns:
        """Checks the settings.

        Raises:
            UserError: a pattern is wrong, or a name or value is given twice.
        """
        if not settings or not settings.images:
            raise UserError(
                f"the plain layout needs {_KEY}.images, a pattern of file names for each modality; "
                "take configs/sarcoma.py as an example"
            )
        images = {
            name: _checked(f"{_KEY}.images, {name}", text)
            for name, text in _pairs("images", settings.images)
        }
        label = settings.label and _checked(f"{_KEY}.label", settings.label)
        classes = dict(_pairs("classes", settings.classes))
        ignore = classes.pop(_IGNORE, None)
        used = [0, *classes.values(), *(() if ignore is None else (ignore,))]
        if not classes or "background" in classes or len(set(used)) < len(used):
            raise UserError(
                f"{_KEY}.classes is {settings.classes!r}: give at least one class, each a value "
                "of its own; the background is 0 and is not listed"
            )
        if not all(0 <= value <= MAX_LABEL for value in used):
            raise UserError(
                f"{_KEY}.classes is {settings.classes!r}: values go from 0 to {MAX_LABEL}; "
                "renumber the label maps"
            )
        reference = settings.reference
        if reference and reference not in images:
            raise UserError(f"{_KEY}.reference is {reference!r}; there are {', '.join(images)}")
        number = tuple(images).index(reference) if reference else None
        return cls(images, label, classes, ignore, number)


def open_folder(root: Path, patterns: Patterns) -> Dataset:
    """Lists the cases that the patterns find.

    A case without a file of the label's pattern has no label map. A case without a file of a
    modality's pattern has the path where the file would be. Names are found in any spelling (see
    `names`).

    Raises:
        UserError: nothing matches a modality's pattern.
    """
    stars: dict[str, tuple[str, ...]] = {}  # what stands for every `*`, by the case's id
    folders = Folders()
    images = {
        name: _by_id(folders, root, pattern, stars) for name, pattern in patterns.images.items()
    }
    for name, found in images.items():
        if not found:
            pattern = patterns.images[name]
            raise UserError(
                f"{root}: nothing there matches {pattern} ({_KEY}.images){_link(root, pattern)}"
            )
    labels = _by_id(folders, root, patterns.label, stars) if patterns.label else {}
    # A wide pattern of the images, as "*.nii.gz", finds label maps too.
    maps = {path for paths in labels.values() for path in paths}
    images = {
        name: {
            id: kept for id, paths in found.items() if (kept := [p for p in paths if p not in maps])
        }
        for name, found in images.items()
    }
    known = {id for found in (*images.values(), labels) for id in found}
    stars = {id: parts for id, parts in stars.items() if id in known}
    no_label = f"nothing there matches {patterns.label} ({_KEY}.label)"
    no_label += _link(root, patterns.label)
    cases = []
    for id, parts in stars.items():
        found = [
            images[name].get(id, [root / _fill(pattern, parts)])
            for name, pattern in patterns.images.items()
        ]
        cases += cases_of_id(id, found, labels.get(id, [None]))
    return Dataset(
        root.resolve().name,
        root,
        tuple(patterns.images),
        ("background", *patterns.classes),
        (0, *patterns.classes.values()),
        ordered(cases),
        ignore=patterns.ignore,
        reference=patterns.reference,
        faults=(no_label,) if patterns.label and not labels else (),
    )


def _by_id(
    folders: Folders, root: Path, pattern: str, stars: dict[str, tuple[str, ...]]
) -> dict[str, list[Path]]:
    """The files of a pattern by the case's id; what its `*` stand for goes into `stars`."""
    found: dict[str, list[Path]] = {}
    for file, parts in sorted(_files(folders, root, pattern.split("/"), ())):
        id = "_".join(dict.fromkeys(parts))
        stars.setdefault(id, parts)
        found.setdefault(id, []).append(file)
    return found


def _files(
    folders: Folders, folder: Path, parts: Sequence[str], stars: tuple[str, ...]
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The files that a pattern finds, each with what every `*` stands for.

    Args:
        folders: what was listed before.
        folder: where the pattern starts.
        parts: of the pattern, between its slashes.
        stars: what was found for every `*` before.

    Raises:
        OSError: `folder` cannot be read.
    """
    part, *rest = parts
    spelt = composed if rest else spelling
    # Only `*` is special: brackets and question marks occur in names.
    names = re.compile("(.+)".join(map(re.escape, spelt(part).split("*"))), re.DOTALL)
    # As in a shell, `*` finds nothing hidden, such as what macOS archives leave.
    shown = folders.all_names(folder) if part.startswith(".") else folders.names(folder)
    for name in shown:
        match = names.fullmatch(spelt(name))
        if not match:
            continue
        path, known = folder / name, (*stars, *match.groups())
        if not rest:
            yield path, known
        elif path.is_dir():
            try:
                folders.names(path)
            except PermissionError:
                if not known:
                    raise
                if name not in _SYSTEM:
                    yield _within(path, rest, known)
            else:
                yield from _files(folders, path, rest, known)
        elif known and leads_nowhere(path) and not stands_for_file(path):
            yield _within(path, rest, known)


def _within(
    folder: Path, rest: Sequence[str], stars: tuple[str, ...]
) -> tuple[Path, tuple[str, ...]]:
    """The file that a pattern would find in a folder that cannot be listed.

    Each `*` in `rest` is taken for what the last `*` before stood for, as in
    BraTS_7/BraTS_7_t1.nii.gz.
    """
    inner = "/".join(rest)
    missing = stars[-1:] * inner.count("*")
    return folder / _fill(inner, missing), (*stars, *missing)


def _link(root: Path, pattern: str) -> str:
    """Tells, for an error, that a folder before the first `*` is a link that leads nowhere."""
    folder = root / pattern.partition("*")[0].rpartition("/")[0]
    reason = why_missing(folder)
    return f"; {folder}: {reason}" if "leads nowhere" in reason else ""


def _fill(pattern: str, stars: tuple[str, ...]) -> str:
    """The path of a pattern that a case would have, as far as its own parts tell."""
    wanted = pattern.count("*")
    if len(set(stars)) == 1:
        stars = stars[:1] * wanted
    if len(stars) != wanted:
        return pattern
    first, *rest = pattern.split("*")
    return first + "".join(star + part for star, part in zip(stars, rest, strict=True))


def _checked(key: str, text: str) -> str:
    """A pattern, normalised."""
    inner = posixpath.normpath(text)
    if posixpath.isabs(inner) or inner == ".." or inner.startswith("../"):
        raise UserError(
            f"{key}: {text!r} leads out of the data set; patterns start from its folder"
        )
    if "*" not in inner or "**" in inner or "\0" in inner:
        raise UserError(
            f"{key}: {text!r} needs a * where the case's name stands, as */t1.nii.gz; ** is not "
            "supported"
        )
    if not ending_of(inner, ENDINGS):
        raise UserError(f"{key}: {text!r} must end in .nii.gz, .nii, .hdr or .img")
    return inner


def _pairs(key: str, pairs: tuple[tuple[str, Value], ...]) -> tuple[tuple[str, Value], ...]:
    """Pairs of a name and a value, whose names must differ."""
    if len(dict(pairs)) < len(pairs) or not all(name for name, _ in pairs):
        raise UserError(f"{_KEY}.{key} is {pairs!r}: give every pair a name of its own")
    return pairs
