"""iSeg-2019: infant brain MRI at 6 months, T1 and T2, with three tissues labelled.

    subject-1-T1.hdr .img   subject-1-T2.hdr .img   subject-1-label.hdr .img   …

in the folder itself or in its `iSeg-2019-Training`. Labels on disk: 0 background, 10 cerebrospinal
fluid, 150 grey matter, 250 white matter (Sun et al., IEEE TMI 40(5), 2021; arXiv:2007.02096).
"""

from __future__ import annotations

import re
from pathlib import Path

from invseg_jax.data.layouts.case import Case, Dataset, natural_order, ordered, some
from invseg_jax.errors import UserError

MODALITIES = ("T1", "T2")
CLASSES = ("background", "CSF", "GM", "WM")
VALUES = (0, 10, 150, 250)
_FILE = re.compile(r"(subject-[0-9]+)-(T1|T2|label)\.(hdr|img)")


def open_folder(root: Path) -> Dataset:
    """Lists the subjects; one without a label map is a case whose label is None.

    Raises:
        UserError: there is no subject, or a subject lacks a modality or half of a file pair.
    """
    for folder in (root, root / "iSeg-2019-Training"):
        subjects = _subjects(folder)
        if subjects:
            break
    else:
        raise UserError(
            f"{root}: no iSeg data set; looked for subject-N-T1.hdr, subject-N-T2.hdr "
            "and subject-N-label.hdr there and in iSeg-2019-Training"
        )
    faults = []
    for subject in sorted(subjects, key=natural_order):
        for kind in (*MODALITIES, "label"):
            missing = {"hdr", "img"} - subjects[subject].get(kind, set())
            if kind == "label" and len(missing) == 2:
                continue
            faults += [f"{subject}-{kind}.{ending}" for ending in sorted(missing)]
    if faults:
        raise UserError(
            f"{folder}: missing {some(faults)}; every subject needs T1 and T2, each "
            "as .hdr and .img"
        )
    cases = (
        Case(
            subject,
            tuple(folder / f"{subject}-{kind}.hdr" for kind in MODALITIES),
            folder / f"{subject}-label.hdr" if "label" in kinds else None,
        )
        for subject, kinds in subjects.items()
    )
    return Dataset("iSeg-2019", root, MODALITIES, CLASSES, VALUES, ordered(cases, root))


def _subjects(folder: Path) -> dict[str, dict[str, set[str]]]:
    """The endings found, by subject and kind: {"subject-1": {"T1": {"hdr", "img"}, …}, …}."""
    subjects: dict[str, dict[str, set[str]]] = {}
    if folder.is_dir():
        for path in folder.iterdir():
            if match := _FILE.fullmatch(path.name):
                subject, kind, ending = match.groups()
                subjects.setdefault(subject, {}).setdefault(kind, set()).add(ending)
    return subjects
