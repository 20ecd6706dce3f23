"""Settings of the data: defaults, the command line, and what is refused."""

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from invseg_jax.errors import UserError
from invseg_jax.experiment import (
    DataSettings,
    EmbeddedSettings,
    Experiment,
    PlainSettings,
    Preprocessing,
)
from invseg_jax.experiment.changes import changed_by_text
from tests.experiment.sections import (
    ANYTHING,
    assert_right_or_refused,
    assert_typed,
    assert_written_and_read,
    names,
    refusal,
)

TEXTS = st.text(max_size=5)
COUNTS = st.tuples(*[st.integers(0, 9)] * 3).filter(any)
RIGHT = st.builds(
    DataSettings,
    layout=TEXTS,
    plain=st.builds(
        PlainSettings,
        images=st.lists(st.tuples(TEXTS, TEXTS), max_size=2),
        label=TEXTS,
        classes=st.lists(st.tuples(TEXTS, st.integers()), max_size=2),
        reference=TEXTS,
    ),
    embedded=st.none()
    | st.builds(EmbeddedSettings, st.integers(1, 20), st.floats(0.5, 8), st.integers(0, 9)),
    max_bytes=st.integers(1, 2**70),
    tolerate=st.lists(TEXTS, max_size=2),
    cases=st.lists(TEXTS, max_size=3),
    annotated_slices=st.just(()) | COUNTS,
    folds=st.integers(1, 9),
    fold=st.integers(0, 9),
    group=TEXTS,
    patch=st.tuples(*[st.integers(1, 999)] * 3),
    batch=st.integers(1, 99),
    foreground=st.floats(0, 1),
    threads=st.integers(0, 9),
    preprocess=st.builds(Preprocessing, margin=st.integers(0, 3)),
)


def test_an_experiment_has_the_defaults():
    assert Experiment().data == DataSettings()
    assert_typed(DataSettings(embedded=EmbeddedSettings()))


@hypothesis.settings(max_examples=40)
@hypothesis.given(RIGHT)
def test_what_is_written_is_read(settings: DataSettings):
    assert_written_and_read(settings)


@hypothesis.given(names(DataSettings), ANYTHING)
def test_anything_else_is_refused_by_name(name: str, value: Any):
    assert_right_or_refused(DataSettings, name, value)


@hypothesis.given(names(PlainSettings), ANYTHING)
def test_anything_else_is_refused_for_the_plain_layout(name: str, value: Any):
    assert_right_or_refused(PlainSettings, name, value)


@pytest.mark.parametrize("counts", [(), (3, 3, 3), (0, 0, 1)])
def test_annotated_slices(counts: tuple[int, ...]):
    found = DataSettings(annotated_slices=list(counts))  # pyright: ignore[reportArgumentType]
    assert found.annotated_slices == counts


@pytest.mark.parametrize(
    "changes, found",
    [
        ({"patch": "(8, 16, 8)"}, {"patch": (8, 16, 8)}),
        ({"cases": "(1, 2)"}, {"cases": ("1", "2")}),  # ids, not numbers
        ({"cases": "a,b"}, {"cases": ("a", "b")}),
        ({"annotated_slices": "()"}, {"annotated_slices": ()}),
        ({"tolerate": "duplicate"}, {"tolerate": ("duplicate",)}),
        ({"group": "(sub-[0-9]+)_.*"}, {"group": "(sub-[0-9]+)_.*"}),
        ({"embedded.subjects": "3"}, {"embedded": EmbeddedSettings(subjects=3)}),
        (
            {"plain.images": "(('mr','*/mr.nii.gz'),)", "plain.reference": ""},
            {"plain": PlainSettings(images=(("mr", "*/mr.nii.gz"),))},
        ),
    ],
)
def test_texts_of_the_command_line(changes: dict[str, str], found: dict[str, Any]):
    texts = {f"data.{key}": text for key, text in changes.items()}
    assert changed_by_text(Experiment(), texts).data == DataSettings(**found)


def test_the_files_of_the_plain_layout_are_not_mixed_up():
    with pytest.raises(UserError, match="config.data.plain is a section; give a setting in it"):
        changed_by_text(Experiment(), {"data.plain": "3"})


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"patch": (4, 5)}, "patch is (4, 5); give 3 whole numbers"),
        ({"patch": (4, 0, 5)}, "patch is (4, 0, 5); give three sizes of at least 1 voxel"),
        ({"patch": (4, 5, 6.5)}, "patch[2] is 6.5, not a whole number"),
        ({"batch": 0}, "batch is 0; it must be at least 1"),
        ({"max_bytes": 0}, "max_bytes is 0; it must be at least 1"),
        ({"threads": -1}, "threads is -1; it must be at least 0"),
        ({"foreground": 1.5}, "foreground is 1.5; give a probability between 0 and 1"),
        ({"foreground": float("nan")}, "foreground is nan; give a probability between 0 and 1"),
        ({"fold": "x"}, "fold is 'x', not a whole number"),
        ({"folds": True}, "folds is True, not a whole number"),
        ({"cases": "ab"}, "cases is 'ab', not a list of texts"),
        ({"plain": {}}, "plain is {}, not a PlainSettings"),
        (
            {"group": "sub-.", "split": "a.json"},
            "group is 'sub-.'; and config.data.split is 'a.json'; give one of them",
        ),
    ],
)
def test_impossible_settings_are_refused_by_name(wrong: dict[str, Any], said: str):
    assert refusal(DataSettings, **wrong) == f"config.data.{said}"


@pytest.mark.parametrize("slices", [(3,), (1, 1), (0, 0, 0), (-1, 2, 2), (1.0, 1, 1), "333"])
def test_annotated_slices_that_are_refused(slices: Any):
    assert refusal(DataSettings, annotated_slices=slices).startswith("config.data.annotated_slices")
