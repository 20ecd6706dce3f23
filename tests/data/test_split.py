import pytest
from hypothesis import given
from hypothesis import strategies as st

from invseg_jax.data.split import hold_out
from invseg_jax.errors import UserError


@pytest.mark.parametrize("count", [5, 6, 9, 10, 208, 484])
@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_those_of_nnunet(count: int, folds: int):
    """nnU-Net splits with just this call of scikit-learn."""
    model_selection = pytest.importorskip("sklearn.model_selection")
    cases = [f"case_{number:03}" for number in range(count)]
    expected = model_selection.KFold(folds, shuffle=True, random_state=12345).split(cases)
    for fold, (training, held_out) in enumerate(expected):
        assert hold_out(cases, folds, fold) == (
            [cases[i] for i in training],
            [cases[i] for i in held_out],
        )


@given(st.integers(2, 40), st.integers(2, 7))
def test_every_case_is_held_out_once(count: int, folds: int):
    cases = list(range(count))
    if count < folds:
        with pytest.raises(UserError, match=f"{count} labelled cases .* {folds} folds"):
            hold_out(cases, folds, 0)
        return
    held = []
    for fold in range(folds):
        training, held_out = hold_out(cases, folds, fold)
        assert sorted(training + held_out) == cases
        assert training == sorted(training)
        assert count // folds <= len(held_out) <= -(-count // folds)
        held += held_out
    assert sorted(held) == cases


def test_of_one_fold_nothing_is_held_out():
    assert hold_out(["a"], 1, 0) == (["a"], [])
    assert hold_out(["a", "b"], 1, 0) == (["a", "b"], [])


def test_the_same_each_time():
    cases = tuple("abcdefghij")
    assert hold_out(cases, 5, 2) == hold_out(cases, 5, 2)
    assert hold_out(cases, 5, 2) != hold_out(cases, 5, 3)


@pytest.mark.parametrize("folds, fold", [(5, 5), (5, -1), (1, 1), (0, 0), (-2, 0)])
def test_a_fold_that_is_not_there(folds: int, fold: int):
    with pytest.raises(UserError, match=rf"config\.data\.fold {fold} of {folds} folds"):
        hold_out(list(range(10)), folds, fold)
