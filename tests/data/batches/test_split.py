import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invseg_jax.data.batches.split import check_split, hold_out, holds_out, split_cases
from invseg_jax.data.layouts import Case
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings


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


# Of patients of up to five scans, the numbers of their scans.
PATIENTS = st.lists(st.integers(1, 5), min_size=2, max_size=15)


@given(PATIENTS, st.integers(2, 6), st.randoms(use_true_random=False))
def test_a_patient_is_on_one_side(scans: list[int], folds: int, random):
    cases = [f"sub-{p}_ses-{s}" for p, count in enumerate(scans) for s in range(count)]
    random.shuffle(cases)
    patients = [case.partition("_")[0] for case in cases]
    if len(scans) < folds:
        with pytest.raises(UserError, match=rf"{len(scans)} patients .*group.* into {folds} folds"):
            hold_out(cases, folds, 0, patients)
        return
    held = []
    for fold in range(folds):
        training, held_out = hold_out(cases, folds, fold, patients)
        sides = [{case.partition("_")[0] for case in side} for side in (training, held_out)]
        assert sides[0].isdisjoint(sides[1])
        assert len(scans) // folds <= len(sides[1]) <= -(-len(scans) // folds)
        # Every case on one side, in the given order.
        assert training == [case for case in cases if case not in held_out]
        assert held_out == [case for case in cases if case not in training]
        assert len(training) + len(held_out) == len(cases)
        held += held_out
    assert sorted(held) == sorted(cases)


@given(st.integers(2, 30), st.integers(2, 6))
def test_patients_with_one_scan_are_divided_as_cases_are(count: int, folds: int):
    cases = [f"p{number}" for number in range(count)]
    for fold in range(min(folds, count)):
        if count >= folds:
            assert hold_out(cases, folds, fold, cases) == hold_out(cases, folds, fold)


def test_patients_are_shuffled_as_nnunet_shuffles_cases():
    cases = [f"{p}{s}" for p in "abcdef" for s in "12"]
    order = np.arange(6)
    np.random.RandomState(12345).shuffle(order)
    for fold in range(3):
        held = {"abcdef"[i] for i in order[2 * fold : 2 * fold + 2]}
        _, held_out = hold_out(cases, 3, fold, [case[0] for case in cases])
        assert held_out == [case for case in cases if case[0] in held]


@pytest.fixture
def cases() -> list[Case]:
    """Two scans of each of eight patients."""
    return [Case(f"sub-{p}_ses-{s}", (), None) for p in range(8) for s in (1, 2)]


def ids(sides: tuple[list[Case], list[Case]]) -> tuple[list[str], list[str]]:
    training, held_out = ([case.id for case in side] for side in sides)
    return training, held_out


def test_without_group_and_file_cases_are_divided(cases: list[Case]):
    for fold in range(5):
        settings = DataSettings(fold=fold)
        assert split_cases(settings, cases) == hold_out(cases, 5, fold)
        assert holds_out(settings)


def test_a_pattern_of_the_patient(cases: list[Case]):
    training, held_out = ids(split_cases(DataSettings(group=r"(sub-\d+)_ses-.*"), cases))
    patients = [{id[:5] for id in side} for side in (training, held_out)]
    assert patients[0].isdisjoint(patients[1])
    assert (len(training), len(held_out)) == (12, 4)  # two of eight patients
    whole = DataSettings(group="sub-.")
    assert ids(split_cases(whole, cases)) == (training, held_out)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"group": "(sub-"}, r"group: '\(sub-' is no regular expression \(.*\); mend it"),
        ({"group": r"sub-[1-7]"}, "finds no patient in the id of sub-0_ses-1, sub-0_ses-2; it"),
        ({"group": r"x*"}, "finds no patient in the id of sub-0_ses-1, .* and 11 more"),
        ({"group": r"(x)?sub"}, "finds no patient in the id of sub-0_ses-1"),
        ({"group": "sub-.", "folds": 9}, r"8 patients \(config.data.group\) .* into 9 folds"),
        ({"group": "sub-.", "fold": 5}, "config.data.fold 5 of 5 folds"),
        ({"split": "none.json"}, "config.data.split: none.json: no such file; check the path"),
    ],
)
def test_keys_that_are_refused(cases: list[Case], changes: dict[str, Any], match: str):
    settings = DataSettings(**changes)
    with pytest.raises(UserError, match=match) as caught:
        split_cases(settings, cases)
    assert "\n" not in str(caught.value)
    # Without the cases, what the keys alone tell.
    if "no patient" in match or "8 patients" in match:
        check_split(settings, settings.fold)
    else:
        with pytest.raises(UserError, match=match):
            check_split(settings, settings.fold)


def write(folder: Path, entries: object) -> str:
    (folder / "splits_final.json").write_text(json.dumps(entries))
    return str(folder / "splits_final.json")


def test_a_split_file(cases: list[Case], tmp_path: Path):
    names = [case.id for case in cases]
    entries = [
        {"train": names[:10], "val": names[10:]},
        {"train": names[:1:-1], "val": names[:1]},  # one is in neither, as nnU-Net allows
        {"train": names, "val": []},
    ]
    settings = DataSettings(split=write(tmp_path, entries), folds=1)  # folds count for nothing
    assert holds_out(settings)
    for fold, expected in enumerate(
        [(names[:10], names[10:]), (names[2:], names[:1]), (names, [])]
    ):
        assert ids(split_cases(replace(settings, fold=fold), cases)) == expected
        check_split(settings, fold)
    with pytest.raises(UserError, match="config.data.fold 3: .*json has 3 entries; folds count fr"):
        check_split(settings, 3)


def test_ids_of_a_split_file(tmp_path: Path):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    file = write(tmp_path, [{"train": [decomposed, "a"], "val": ["b"]}])
    settings = DataSettings(split=file)
    cases = [Case(id, (), None) for id in ("a", "b", composed)]
    assert ids(split_cases(settings, cases)) == (["a", composed], ["b"])
    with pytest.raises(UserError, match="names b, and the data set has no labelled case with"):
        split_cases(settings, cases[::2])
    # Of config.data.cases, fewer are chosen than there are.
    assert ids(split_cases(settings, cases[::2], ["a", "b", composed])) == (["a", composed], [])
    with pytest.raises(UserError, match="entry 0 of .* trains on none of config.data.cases"):
        split_cases(settings, cases[1:2], ["a", "b", composed])


def test_nothing_is_held_out():
    assert not holds_out(DataSettings(folds=1))
    assert not holds_out(DataSettings(folds=1, group="a"))
