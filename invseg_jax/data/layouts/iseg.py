"""iSeg-2019: infant brain MRI at 6 months, T1 and T2, with three tissues labelled.

    subject-1-T1.hdr .img   subject-1-T2.hdr .img   subject-1-label.hdr .img   …

in the folder itself or in its `iSeg-2019-Training`. Labels on disk: 0 background, 10 cerebrospinal
fluid, 150 grey matter, 250 white matter (Sun et al., IEEE TMI 40(5), 2021; arXiv:2007.02096).
"""

from __future__ import annotations

import re
from pathlib import Path

from invseg_jax.data.layouts.case import Case, Dataset, ordered
from invseg_jax.errors import UserError

MODALITIES = ("T1", "T2")
CLASSES = ("background", "CSF", "GM", "WM")
VALUES = (0, 10, 150, 250)
_FILE = re.compile(r"(subject-[0-9]+)-(T1|T2|label)\.(?:hdr|img)")


def open_folder(root: Path) -> Dataset:
    """Lists the subjects; one without a label map is a test case whose label is None.

    Raises:
        UserError: there is no subject.
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
    cases = (
        Case(
            subject,
            tuple(folder / f"{subject}-{kind}.hdr" for kind in MODALITIES),
            folder / f"{subject}-label.hdr" if "label" in kinds else None,
            "training" if "label" in kinds else "test",
        )
        for subject, kinds in subjects.items()
    )
    return Dataset("iSeg-2019", root, MODALITIES, CLASSES, VALUES, ordered(cases))


def _subjects(folder: Path) -> dict[str, set[str]]:
    """What was found of each subject: {"subject-1": {"T1", "T2", "label"}, …}."""
    subjects: dict[str, set[str]] = {}
    if folder.is_dir():
        for path in folder.iterdir():
            if match := _FILE.fullmatch(path.name):
                subjects.setdefault(match[1], set()).add(match[2])
    return subjects
