"""Warnings: what a user should know of a data set that can be used all the same.

All of them follow from what is known of each file (`content.Content`), so they are the same where a
sound case is not read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from invseg_jax.data.checks.case import Fault, Kind, shown_from
from invseg_jax.data.layouts.case import Case, Dataset, some
from invseg_jax.data.prepare.content import Channel, Content

# Training tells it in a line of its own: it is about the configuration, not about a file.
AIR: Kind = "air"
_NONE = "the header does not say which side is left (Analyze, or neither sform nor qform)"


@dataclass(frozen=True)
class KnownCase:
    """A case, and what is in its files, as far as they can be read."""

    case: Case
    contents: dict[Path, Content]

    def oriented(self) -> dict[bool, list[Path]]:
        """Its files that have an orientation (True), and its files that have none (False)."""
        found: dict[bool, list[Path]] = {True: [], False: []}
        for path in self.case.files:
            if path in self.contents:
                found[self.contents[path].oriented].append(path)
        return found


def case_warnings(dataset: Dataset, known: KnownCase) -> list[Fault]:
    """Warnings about one case: notes of its headers, and an orientation that some files lack."""
    case = known.case
    add, found = _collector(dataset)
    for path, content in known.contents.items():
        for note in content.notes:
            add(case.id, "header", f"{path}: {note}")
    sides = known.oriented()
    if sides[True] and sides[False]:
        add(
            case.id,
            "orientation",
            f"{some(sides[False])}: {_NONE}, the header of {sides[True][0]} does: whether they "
            "lie in the same place cannot be checked; give all files an sform, or none",
        )
    return found


def orientation_warnings(dataset: Dataset, known: Sequence[KnownCase]) -> list[Fault]:
    """Warnings about the few cases that have an orientation where most have none, or the reverse.

    Cases with an orientation are brought into the same axes, the others stay as they are stored.
    """
    sides: dict[bool, list[KnownCase]] = {True: [], False: []}
    for one in known:
        files = one.oriented()
        if bool(files[True]) != bool(files[False]):  # a case with both has its own warning
            sides[bool(files[True])].append(one)
    add, found = _collector(dataset)
    few = len(sides[True]) < len(sides[False])
    others = len(sides[not few])
    if others:
        what = "the header says which side is left" if few else _NONE
        other = "do not" if few else "do"
        for one in sides[few]:
            add(
                one.case.id,
                "orientation",
                f"{one.case.images[0]}: {what}, the headers of {others} other cases {other}: its "
                "axes may run another way than theirs; give all an sform, or leave the case out",
            )
    return found


def air_warnings(
    dataset: Dataset, known: Sequence[KnownCase], normalisation: Sequence[str]
) -> list[Fault]:
    """Warnings about modalities with values below 0 whose normalisation takes exact 0 for air.

    Args:
        dataset: what the cases belong to.
        known: its cases.
        normalisation: of each modality, see `normalise`.

    Returns:
        At most one for each modality; they are about the data set as a whole.
    """
    add, found = _collector(dataset)
    for index, (name, scheme) in enumerate(zip(dataset.modalities, normalisation, strict=True)):
        if scheme != "z_score_nonzero":
            continue
        measured = [
            (channel.minimum, one.case.id)
            for one in known
            if (channel := _modality(one, index)) is not None
        ]
        signed = [entry for entry in measured if entry[0] < 0]
        if signed:
            lowest, where = min(signed)
            add(
                "",
                AIR,
                f"modality {name}: values below 0 in {len(signed)} of {len(measured)} cases "
                f"(the lowest, {lowest:g}, in case {where}), and z_score_nonzero takes exact 0 as "
                "air; if 0 is not air, set config.data.preprocess.normalisation to z_score, or to "
                "ct for Hounsfield units",
            )
    return found


def _modality(known: KnownCase, index: int) -> Channel | None:
    """What is known of a modality, from its own file or from its channel of the only file."""
    images = known.case.images
    path, place = (images[0], index) if len(images) == 1 else (images[index], 0)
    content = known.contents.get(path)
    # A file of more or fewer channels than there are modalities is a fault of its own.
    if content is None or place >= len(content.channels):
        return None
    return content.channels[place]


def _collector(dataset: Dataset) -> tuple[Callable[[str, Kind, str], None], list[Fault]]:
    found: list[Fault] = []

    def add(case: str, kind: Kind, text: str) -> None:
        found.append(Fault(case, kind, shown_from(dataset.root, text), warning=True))

    return add, found
