"""Which cases are trained on and which are held out."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from invseg_jax.errors import UserError

Item = TypeVar("Item")

# nnU-Net's (utilities/crossval_split.py), so that folds are the same as there where numbers in the
# ids have leading zeros: nnU-Net has case_10 before case_2, here it is behind.
_SEED = 12345


def hold_out(cases: Sequence[Item], folds: int, fold: int) -> tuple[list[Item], list[Item]]:
    """Splits cases for one fold of a shuffled k-fold cross-validation, as nnU-Net does.

    Equal to `sklearn.model_selection.KFold(folds, shuffle=True, random_state=12345)`: one shuffle,
    then `folds` runs of as equal length as can be; run number `fold` is held out. Of one fold,
    nothing is held out.

    Args:
        cases: sorted by identifier.
        folds: how many.
        fold: which, from 0.

    Returns:
        The cases to train on, and those held out, each in the given order.

    Raises:
        UserError: fewer cases than folds, or a fold that is not there.
    """
    if not 0 <= fold < folds:
        raise UserError(
            f"config.data.fold {fold} of {folds} folds; folds count from 0, and of 1 nothing is "
            "held out"
        )
    if folds == 1:
        return list(cases), []
    if len(cases) < folds:
        raise UserError(
            f"{len(cases)} labelled cases cannot be split into {folds} folds; "
            "lower config.data.folds or add cases"
        )
    order = np.arange(len(cases))
    np.random.RandomState(_SEED).shuffle(order)
    held = set(np.array_split(order, folds)[fold].tolist())
    training = [case for i, case in enumerate(cases) if i not in held]
    return training, [case for i, case in enumerate(cases) if i in held]
