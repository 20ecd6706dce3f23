from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from invseg_jax.data.batches import source
from invseg_jax.data.batches.source import (
    chosen_cases,
    chosen_split,
    labelled_cases,
    now_and_then,
    open_source,
    prepared_split,
    training_fingerprint,
)
from invseg_jax.data.batches.sparse_annotation import keep_slices
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.phantom import embedded_cohort
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings, EmbeddedSettings


@pytest.fixture
def settings() -> DataSettings:
    """As configs/iseg.py: the layout has an embedded cohort."""
    return DataSettings(layout="iseg", embedded=EmbeddedSettings(subjects=2, spacing=8.0, seed=3))


@pytest.fixture
def never_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*_, **__):
        raise AssertionError("the embedded cohort stands in for the user's data")

    monkeypatch.setattr(source, "embedded_cohort", made)


@pytest.fixture
def said() -> list[str]:
    return []


def test_the_root_that_was_given(settings, said, write_iseg, never_embedded):
    root = write_iseg(labelled=(1, 2), unlabelled=(3,))
    dataset = open_source(settings, str(root), said.append)
    assert dataset.root == root
    assert [case.id for case in dataset.cases] == ["subject-1", "subject-2", "subject-3"]
    assert said == [f"data: {root} (iseg layout, 3 cases)"]


@pytest.mark.parametrize("root", ["not/there", ""])
def test_a_root_that_is_missing_is_not_replaced(
    settings, said, tmp_path, monkeypatch: pytest.MonkeyPatch, never_embedded, root: str
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        open_source(settings, root, said.append)
    assert said == []


def test_the_wrong_layout_is_not_replaced(settings, said, write_msd, never_embedded):
    root = write_msd()
    with pytest.raises(UserError, match=str(root)):
        open_source(settings, str(root), said.append)


def test_no_root_and_no_embedded_cohort(said, never_embedded):
    with pytest.raises(UserError, match="needs --data: .* msd"):
        open_source(DataSettings(), None, said.append)
    assert said == []


def test_the_embedded_cohort_is_named_as_such(settings, said):
    pytest.importorskip("nilearn")
    dataset = open_source(settings, None, said.append)
    assert len(dataset.cases) == 2
    assert dataset.classes[0] == "background"
    (line,) = [line for line in said if line.startswith("data: ")]
    assert "2 subjects" in line
    assert "8 mm" in line
    assert "not iSeg-2019" in line
    # Made once, and the one that the configuration describes.
    assert dataset.root == embedded_cohort(subjects=2, spacing=8.0, seed=3)


def test_only_labelled_cases_are_prepared(settings, said, write_iseg):
    root = write_iseg(labelled=(10, 2), unlabelled=(3,))
    dataset = open_source(settings, str(root), said.append)
    said.clear()
    settings = replace(settings, folds=2)
    training, held_out, fingerprint = prepared_split(settings, dataset, said.append)
    cases = training + held_out
    assert {case.id for case in cases} == {"subject-2", "subject-10"}
    assert len(training) == len(held_out) == 1
    assert said == [f"preparing case {training[0].id} (1 of 1)"]
    assert fingerprint.cases == (training[0].id,)
    for case in cases:
        assert case.image.shape == (*case.shape, 2)
        assert case.label is not None
        assert set(np.unique(case.label)) <= {0, 1, 2, 3}


def test_chosen_cases(settings, said, write_iseg):
    dataset = open_source(settings, str(write_iseg(labelled=(1, 2, 3))), said.append)
    assert [case.id for case in chosen_cases(settings, dataset)] == [c.id for c in dataset.cases]
    settings = replace(settings, cases=("subject-3", "subject-1"))
    assert [case.id for case in chosen_cases(settings, dataset)] == ["subject-1", "subject-3"]
    settings = replace(settings, cases=("subject-1", "subject-7"))
    with pytest.raises(UserError, match=r"no labelled case subject-7; there are subject-1, subje"):
        chosen_cases(settings, dataset)


def test_the_split_is_the_same_for_all_who_ask(settings, said, write_iseg, tmp_path):
    dataset = open_source(settings, str(write_iseg(labelled=(1, 2, 3, 4))), said.append)
    (tmp_path / "split.json").write_text(
        '[{"train": ["subject-4", "subject-2"], "val": ["subject-1"]}]'
    )
    settings = replace(settings, split=str(tmp_path / "split.json"))
    training, held_out = chosen_split(settings, dataset)
    assert [case.id for case in training] == ["subject-2", "subject-4"]
    assert [case.id for case in held_out] == ["subject-1"]
    prepared = [[case.id for case in part] for part in _split(settings, dataset)]
    assert prepared == [["subject-2", "subject-4"], ["subject-1"]]
    fingerprint = training_fingerprint(settings, dataset, said.append)
    assert fingerprint.cases == ("subject-2", "subject-4")
    # Of the cases that were chosen, those that the file names.
    settings = replace(settings, cases=("subject-1", "subject-2"))
    training, held_out = chosen_split(settings, dataset)
    assert [case.id for case in (*training, *held_out)] == ["subject-2", "subject-1"]


def test_chosen_cases_in_another_spelling(settings, said, write_msd):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    settings = replace(settings, layout="msd")
    dataset = open_source(settings, str(write_msd(ids=(composed, "b"))), said.append)
    settings = replace(settings, cases=(decomposed,))
    assert [case.id for case in chosen_cases(settings, dataset)] == [composed]


def test_slices_are_kept_of_the_training_cases_alone(settings, said, write_iseg):
    dataset = open_source(settings, str(write_iseg(labelled=(1, 2))), said.append)
    settings = replace(settings, folds=2)
    dense = {case.id: np.array(case.label) for part in _split(settings, dataset) for case in part}
    settings = replace(settings, annotated_slices=(1, 2, 0))
    said.clear()
    (trained,), (held,), _ = prepared_split(settings, dataset, said.append)
    share = np.mean(trained.label != IGNORED)
    assert said[-1] == f"annotated: 1 + 2 + 0 slices a case, {share:.1%} of its voxels"
    np.testing.assert_array_equal(trained.label, keep_slices(dense[trained.id], (1, 2, 0)))
    assert (trained.label == IGNORED).any()
    for index in range(1, 4):
        np.testing.assert_array_equal(
            trained.foreground(index), np.argwhere(trained.label == index)
        )
    np.testing.assert_array_equal(held.label, dense[held.id])


def test_nothing_is_held_out_of_one_fold(settings, said, write_iseg):
    dataset = open_source(settings, str(write_iseg(labelled=(1, 2))), said.append)
    settings = replace(settings, folds=1)
    training, held_out = _split(settings, dataset)
    assert (len(training), held_out) == (2, [])


def _split(settings, dataset):
    return prepared_split(settings, dataset, lambda line: None)[:2]


def test_no_labelled_case(settings, said, write_iseg):
    root: Path = write_iseg(labelled=(), unlabelled=(1, 2))
    with pytest.raises(UserError, match=f"{root} holds no case with a label map"):
        labelled_cases(open_source(settings, str(root), said.append))


def test_lines_come_now_and_then(monkeypatch):
    clock, said = iter((0.0, 1.0, 2.5, 3.0)), []
    monkeypatch.setattr("invseg_jax.data.batches.source.time.monotonic", lambda: next(clock))
    say = now_and_then(said.append)
    for line in ("a", "b", "c", "d"):
        say(line)
    assert said == ["a", "c"]
