"""iSeg-2019: infant brain MRI at 6 months, T1 and T2, with three tissues labelled.

    subject-1-T1.hdr .img   subject-1-T2.hdr .img   subject-1-label.hdr .img   …

in the folder itself or in its `iSeg-2019-Training`. Labels on disk: 0 background, 10 cerebrospinal
fluid, 150 grey matter, 250 white matter (Sun et al., IEEE TMI 40(5), 2021; arXiv:2007.02096).
"""

from __future__ import annotations

import re
from pathlib import Path

from invseg_jax.data.layouts.case import Case, Dataset, ordered
from invseg_jax.data.layouts.names import Folders
from invseg_jax.data.volumes.nifti import volume_files
from invseg_jax.errors import UserError
from invseg_jax.files.missing import leads_nowhere, why_missing

MODALITIES = ("T1", "T2")
CLASSES = ("background", "CSF", "GM", "WM")
VALUES = (0, 10, 150, 250)
_FILE = re.compile(r"(subject-[0-9]+)-(T1|T2|label)\.(?:hdr|img|HDR|IMG)")


def open_folder(root: Path) -> Dataset:
    """Lists the subjects; one without a label map is a test case whose label is None.

    Raises:
        UserError: there is no subject.
    """
    inner = root / "iSeg-2019-Training"
    for folder in (root, inner):
        subjects = _subjects(folder)
        if subjects:
            break
    else:
        reason = f" ({inner}: {why_missing(inner)})" if leads_nowhere(inner) else ""
        raise UserError(
            f"{root}: no iSeg data set; looked for subject-N-T1.hdr, subject-N-T2.hdr "
            f"and subject-N-label.hdr there and in iSeg-2019-Training{reason}"
        )
    cases = (
        Case(
            subject,
            tuple(files.get(kind, folder / f"{subject}-{kind}.hdr") for kind in MODALITIES),
            files.get("label"),
            "training" if "label" in files else "test",
        )
        for subject, files in subjects.items()
    )
    return Dataset("iSeg-2019", root, MODALITIES, CLASSES, VALUES, ordered(cases))


def _subjects(folder: Path) -> dict[str, dict[str, Path]]:
    """The headers of each subject: {"subject-1": {"T1": …, "T2": …, "label": …}, …}.

    A header stands there too where only the voxels of its pair were found.
    """
    subjects: dict[str, dict[str, Path]] = {}
    for name in Folders().names(folder):
        if match := _FILE.fullmatch(name):
            header = volume_files(folder / name)[0]
            subjects.setdefault(match[1], {})[match[2]] = header
    return subjects
