"""Which cases are trained on and which are held out."""

from collections.abc import Collection, Hashable, Sequence
from typing import TypeVar

import numpy as np

from invseg_jax.data.batches.patients import patients_of
from invseg_jax.data.batches.split_file import read_split, refuse_unknown
from invseg_jax.data.layouts.case import Case
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings

Item = TypeVar("Item")

# nnU-Net's (utilities/crossval_split.py), so that folds are the same as there where numbers in the
# ids have leading zeros: nnU-Net has case_10 before case_2, here it is behind.
_SEED = 12345


def split_cases(
    settings: DataSettings, cases: Sequence[Case], known: Collection[str] | None = None
) -> tuple[list[Case], list[Case]]:
    """Splits cases as the settings say.

    Args:
        settings: `folds` and `fold`; and `group`, a pattern of the patient in an id, or `split`, a
            file that lists the ids of each fold.
        cases: in order. Cases that the file does not name are on neither side.
        known: ids that the file may name; None: the ids of the cases.

    Returns:
        The cases to train on, and those held out, each in the given order.

    Raises:
        UserError: the pattern is wrong or finds no patient; the file is wrong
            or names unknown cases; there are fewer cases or patients than folds, or there is no
            such fold.
    """
    group, file = settings.group, settings.split
    if not file:
        patients = patients_of([case.id for case in cases], group) if group else None
        return hold_out(cases, settings.folds, settings.fold, patients)
    training, held_out = read_split(file, settings.fold)
    refuse_unknown(file, training | held_out, known or [case.id for case in cases])
    sides = tuple([case for case in cases if case.id in ids] for ids in (training, held_out))
    if not sides[0]:
        raise UserError(
            f"config.data.split: entry {settings.fold} of {file} trains on none of "
            "config.data.cases; name other cases"
        )
    return sides[0], sides[1]


def check_split(settings: DataSettings, fold: int) -> None:
    """Checks a split as far as that is possible before the cases are known.

    Raises:
        UserError: as `split_cases`.
    """
    group, file = settings.group, settings.split
    if file:
        read_split(file, fold)
        return
    if group:
        patients_of((), group)
    hold_out(range(settings.folds), settings.folds, fold)


def unfair_to_score(
    settings: DataSettings,
    cases: Sequence[Case],
    training: Collection[str],
    held_out: Collection[str],
) -> set[str]:
    """Cases of the training's own data on which a score is not one of held-out cases.

    That is what the split file leaves out, and scans of patients that were trained on, such as
    one that was added since.

    Args:
        settings: of the training.
        cases: labelled ones.
        training: ids of those that were trained on.
        held_out: ids of those that were held out.

    Returns:
        Their ids.

    Raises:
        UserError: the pattern of the patient finds none in an id.
    """
    group, file = settings.group, settings.split
    ids = [case.id for case in cases if case.id not in training]
    if file:
        return {id for id in ids if id not in held_out}
    if not group:
        return set()
    trained_on = set(patients_of(list(training), group))
    return {
        id
        for id, patient in zip(ids, patients_of(ids, group), strict=True)
        if patient in trained_on
    }


def holds_out(settings: DataSettings) -> bool:
    """Whether a training by these settings holds cases out."""
    return bool(settings.split) or settings.folds != 1


def hold_out(
    cases: Sequence[Item],
    folds: int,
    fold: int,
    patients: Sequence[Hashable] | None = None,
) -> tuple[list[Item], list[Item]]:
    """Splits cases for one fold of a shuffled k-fold cross-validation, as nnU-Net does.

    Equal to `sklearn.model_selection.KFold(folds, shuffle=True, random_state=12345)`: one shuffle,
    then `folds` runs of as equal length as can be; run number `fold` is held out. Of one fold,
    nothing is held out.

    Args:
        cases: sorted by identifier.
        folds: how many.
        fold: which, from 0.
        patients: of each case. Patients are shuffled and divided in the place of cases, so that all
            cases of one patient are on one side. None: each case is of another patient.

    Returns:
        The cases to train on, and those held out, each in the given order.

    Raises:
        UserError: there are fewer cases or patients than folds, or there is no such fold.
    """
    if not 0 <= fold < folds:
        raise UserError(
            f"config.data.fold {fold} of {folds} folds; folds count from 0, and of 1 nothing is "
            "held out"
        )
    if folds == 1:
        return list(cases), []
    units: Sequence[Hashable] = range(len(cases)) if patients is None else patients
    distinct = list(dict.fromkeys(units))
    if len(distinct) < folds:
        what = "labelled cases" if patients is None else "patients (config.data.group)"
        raise UserError(
            f"{len(distinct)} {what} cannot be split into {folds} folds; "
            "lower config.data.folds or add cases"
        )
    order = np.arange(len(distinct))
    np.random.RandomState(_SEED).shuffle(order)
    held = {distinct[i] for i in np.array_split(order, folds)[fold].tolist()}
    sides: tuple[list[Item], list[Item]] = [], []
    for case, unit in zip(cases, units, strict=True):
        sides[unit in held].append(case)
    return sides
