"""Which patient a case belongs to: several cases may be scans of one patient.

A network that was trained on one scan of a patient is not tested fairly on another scan: Dice on
held-out cases is then too high.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from invseg_jax.data.layouts.case import some
from invseg_jax.errors import UserError

_KEY = "config.data.group"
# BIDS: the patient stands behind "sub-".
_BIDS = re.compile(r"(sub-[A-Za-z0-9]+)(_.*)?", re.DOTALL)
_BIDS_GROUP = r"(sub-[^_]+)"
# A word for one of several scans and its number at the end of an id, as in p7_visit2.
_SCAN = re.compile(
    r"(.+?)[_.-](ses|session|visit|scan|run|tp|time|timepoint|frame|phase|day|week|month|baseline|"
    r"followup)[_-]?([0-9]*)",
    re.DOTALL | re.IGNORECASE,
)
_WITHOUT_NUMBER = ("baseline", "followup")


def patients_of(ids: Sequence[str], pattern: str) -> list[str]:
    """The patient of each case.

    Args:
        ids: of the cases.
        pattern: a regular expression. It is searched for in an id; its first group, or what matches
            as a whole where it has none, is the patient.

    Returns:
        The patients, in the order of the ids.

    Raises:
        UserError: the pattern is no regular expression, or finds no patient in an id.
    """
    try:
        expression = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(
            f"{_KEY}: {pattern!r} is no regular expression ({error}); mend it"
        ) from error
    group = 1 if expression.groups else 0
    matches = [expression.search(id) for id in ids]
    patients = [match[group] if match else None for match in matches]
    without = [id for id, patient in zip(ids, patients, strict=True) if not patient]
    if without:
        raise UserError(
            f"{_KEY}: {pattern!r} finds no patient in the id of {some(without)}; it must find one "
            f'in every id, as "{_BIDS_GROUP}" finds sub-7 in sub-7_ses-2'
        )
    return [patient for patient in patients if patient]


def torn_patients(training: Sequence[str], held_out: Sequence[str]) -> str:
    """Tells that scans of one patient seem to be on both sides of a fold.

    Ids count as scans of one patient if they are named as in BIDS (sub-7_ses-1), or end in a word
    for a scan and its number (p7_visit2, p7_scan1, p7_tp1). A number alone says nothing. Nor does
    such a word where few patients would have all the cases: a data set may well call its cases
    scan_1, scan_2, ….

    Args:
        training: ids of the cases that are trained on.
        held_out: ids of the cases that are held out.

    Returns:
        One line, or "" where nothing seems to be wrong.
    """
    scans: dict[str, list[str]] = {}
    words: dict[str, None] = {}
    for id in (*training, *held_out):
        if bids := _BIDS.fullmatch(id):
            scans.setdefault(bids[1], []).append(id)
        elif (scan := _SCAN.fullmatch(id)) and (scan[3] or scan[2].lower() in _WITHOUT_NUMBER):
            scans.setdefault(scan[1], []).append(id)
            words[scan[2]] = None
    several = {patient: ids for patient, ids in scans.items() if len(ids) > 1}
    if len(scans) < 2 or not several:
        return ""
    named = all(re.search("sub-|[0-9]", patient) for patient in several)
    if not named and max(map(len, several.values())) > len(scans):
        return ""
    held = set(held_out)
    torn = [ids for ids in several.values() if 0 < sum(id in held for id in ids) < len(ids)]
    if not torn:
        return ""
    pattern = rf"(.+?)([_.-]({'|'.join(words)})[_-]?[0-9]*)?$"
    if _BIDS.fullmatch(torn[0][0]):
        pattern = _BIDS_GROUP
    return (
        f"{len(torn)} of {len(several)} patients with several scans, by their ids, are both "
        f"trained on and held out, such as {some(torn[0], 2)}; {_KEY}='{pattern}' keeps the scans "
        "of a patient together"
    )
