"""A session against what a person expects of it."""

import sys

import numpy as np
import pytest

import invseg_jax as iv
from invseg_jax.errors import UserError
from invseg_jax.interactive.hand import Hand, next_click
from invseg_jax.interactive.method import SliceVolume
from invseg_jax.interactive.prompts import Box, Click, ExtremePoints, Lasso, Scribble
from invseg_jax.interactive.session import Cancelled, Session
from tests.interactive.toy_method import Toy, click, disc, noise

STEADY = Hand(noise=0)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def ellipsoid() -> tuple[SliceVolume, np.ndarray]:
    """A bright ellipsoid in noise, and where it is; voxels of 3 x 1 x 1 mm."""
    z, row, column = np.mgrid[:24, :72, :64]
    truth = ((z - 12) / 9) ** 2 + ((row - 36) / 24) ** 2 + ((column - 30) / 18) ** 2 <= 1
    noisy = 100 * truth + np.random.default_rng(0).normal(0, 15, truth.shape)
    return SliceVolume(noisy.astype(np.float32), (3.0, 1.0, 1.0)), truth


@pytest.mark.parametrize("kind", ["extreme_points", "box", "lasso", "scribble", "click"])
def test_an_ellipsoid_from_a_prompt_on_each_suggested_slice(kind):
    volume, truth = ellipsoid()
    session, rng, curve = iv.Session(volume), np.random.default_rng(1), []
    index: int | None = 12
    for _ in range(6):
        if index is None:
            break
        error = next_click(truth[index], session.mask(index), rng)
        if error is None:
            session.confirm(index)
        elif truth[index].any() and (not curve or kind not in ("scribble", "click")):
            session.prompt(getattr(STEADY, kind)(truth[index], rng), index)
        else:
            (row, column), positive = error
            session.prompt(click(row, column, positive), index)
        curve.append(dice(session.label_map() > 0, truth))
        index = session.suggest()
    assert curve[0] > 0.7
    assert curve[-1] > 0.9, curve


def test_a_correction_reaches_to_the_next_confirmed_slices_and_changes_none_of_them():
    toy = Toy()
    session = Session(noise(), toy)
    session.prompt(click(8, 7), 4)
    assert session.confirmed() == [4] and toy.carried[-1] == (0, 1, 2, 3, 5, 6, 7, 8)
    session.prompt(click(3, 3), 7)
    assert session.confirmed() == [4, 7] and toy.carried[-1] == (5, 6, 8)
    held = {z: session.probabilities()[z] for z in (4, 7)}
    session.prompt(click(12, 3), 5)
    assert toy.carried[-1] == (6,)
    session.prompt(click(5, 3), 0)
    assert toy.carried[-1] == (1, 2, 3)
    session.confirm(2)
    session.prompt(click(5, 9), 0)
    assert toy.carried[-1] == (1,)
    assert session.confirmed() == [0, 2, 4, 5, 7]
    for z, values in held.items():
        assert np.array_equal(session.probabilities()[z], values)
    quality = session.quality()
    assert (quality[session.confirmed()] == 1).all() and (quality[[1, 3, 6, 8]] < 1).all()
    assert np.array_equal(session.mask(4), disc((8, 7), (16, 14)))


def test_all_prompts_of_a_slice_and_its_probabilities_reach_the_method():
    told = []

    class Told(Toy):
        def segment(self, volume, index, prompts, mask):
            told.append((index, list(prompts), None if mask is None else mask.copy()))
            return super().segment(volume, index, prompts, mask)

    session = Session(noise(), Told(), labels=("one", "two"))
    first, second = click(8, 7), click(2, 2, False)
    session.prompt(first, 4)
    before = session.probabilities()[4]
    session.prompt(second, 4)
    session.prompt(second, 4, label=2)
    assert [(index, prompts) for index, prompts, _ in told] == [
        (4, [first]),
        (4, [first, second]),
        (4, [second]),
    ]
    assert told[0][2] is None and told[2][2] is None
    assert np.array_equal(told[1][2], before)
    assert session.prompts() == {4: (first, second)}


def test_carrying_can_be_put_off_and_ends_the_same():
    at_once, later = Session(noise(), Toy()), Session(noise(), Toy())
    later.prompt(click(8, 7), 4, carry=False)
    assert later.confirmed() == [4] and later.stale() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert not later.label_map()[5].any()
    later.carry()
    at_once.prompt(click(8, 7), 4)
    assert later.stale() == []
    assert np.array_equal(later.probabilities(), at_once.probabilities())
    # What was carried goes with the prompt.
    assert later.undo() and not later.label_map().any() and not later.can_undo
    assert later.redo() and np.array_equal(later.probabilities(), at_once.probabilities())
    later.carry()
    assert not later.can_redo and later.undo() and not later.can_undo  # nothing was left to carry


def test_paint_and_confirm_leave_their_neighbours_to_carry():
    session, mask = Session(noise(), Toy()), disc((5, 5), (16, 14))
    session.prompt(click(8, 7), 4)
    session.paint(mask, 6)
    assert session.stale() == [5, 7, 8] and np.array_equal(session.mask(6), mask)
    session.carry()
    assert np.array_equal(session.mask(8), mask)
    session.prompt(click(1, 1), 6)
    session.paint(mask, 6)
    assert session.prompts() == {4: (click(8, 7),)}  # the mask says more than the prompts
    session.confirm(6)
    assert session.confirmed() == [4, 6]


def test_overlap_goes_to_the_higher_probability_and_ties_to_the_lower_label():
    class Sure(Toy):
        def segment(self, volume, index, prompts, mask):
            found = np.zeros(volume.shape, np.float32)
            found[2:8, 2:8] = 0.6
            found[3, 3] = 0.9 if len(prompts) > 1 else 0.6
            return found

    session = Session(noise(), Sure(), labels=("a", "b"))
    session.prompt(click(4, 4), 3, carry=False)
    session.prompt(click(4, 4), 3, label=2, carry=False)
    assert set(np.unique(session.label_map()[3])) == {0, 1}
    session.prompt(click(4, 4), 3, label=2, carry=False)
    labels = session.label_map()
    assert labels.dtype == np.uint8 and labels[3, 3, 3] == 2 and (labels[3] == 2).sum() == 1
    assert np.array_equal(session.slice_map(3), labels[3])
    session.paint(np.ones((16, 14), bool), 3, label=2)
    assert (session.label_map()[3] == 2).all()


@pytest.mark.parametrize("after", range(9))
def test_a_cancelled_carry_leaves_the_session_as_before(after):
    session = Session(noise(), Toy())
    session.prompt(click(8, 7), 4)
    session.prompt(click(2, 7), 2, carry=False)
    session.undo()
    before, asked, told = session.probabilities(), [], []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > after

    with pytest.raises(Cancelled):
        session.prompt(
            click(3, 3), 4, progress=lambda *done: told.append(done), cancelled=cancelled
        )
    assert told == [(n, 9) for n in range(1, after + 1)]
    assert np.array_equal(session.probabilities(), before)
    assert session.can_redo and len(session.prompts()[4]) == 1


def test_a_method_that_fails_leaves_the_session_as_before():
    class Failing(Toy):
        def carry(self, volume, confirmed, slices, probabilities):
            yield from list(super().carry(volume, confirmed, slices, probabilities))[:2]
            raise MemoryError

    session = Session(noise(), Failing())
    for _ in range(2):
        with pytest.raises(MemoryError):
            session.prompt(click(8, 7), 4)
        assert not session.can_undo and not session.label_map().any()


def test_an_action_from_within_an_action_is_refused():
    session = Session(noise(), Toy())
    with pytest.raises(RuntimeError, match="while another is at work"):
        session.prompt(click(8, 7), 4, progress=lambda *_: session.clear())
    assert not session.can_undo


def test_clear_one_or_all_and_add_a_label():
    session = Session(noise(), Toy())
    assert session.add_label("second") == 2
    session.prompt(click(8, 7), 4)
    session.prompt(click(3, 3), 4, label=2)
    session.clear(1)
    assert set(np.unique(session.label_map())) == {0, 2} and session.prompts(1) == {}
    session.clear()
    assert not session.label_map().any() and session.labels == ("object", "second")
    assert session.undo() and session.undo()
    assert set(np.unique(session.label_map())) == {0, 1, 2}
    assert session.undo() and session.undo() and session.undo()
    assert session.labels == ("object",)


def test_an_imported_label_map_comes_back_and_carrying_keeps_it():
    labels = np.random.default_rng(0).integers(0, 3, (9, 16, 14)).astype(np.int16)
    labels[[0, 5]] = 0
    session = Session(noise(), Toy(), labels=("a", "b"))
    session.prompt(click(8, 7), 0)
    session.import_labels(labels)
    assert np.array_equal(session.label_map(), labels)
    assert session.confirmed(1) == session.confirmed(2) == [1, 2, 3, 4, 6, 7, 8]
    session.prompt(click(8, 7), 5)
    assert np.array_equal(np.delete(session.label_map(), 5, 0), np.delete(labels, 5, 0))
    assert session.undo() and session.undo()
    assert session.confirmed(1) == [0]


def test_more_than_255_labels_need_two_bytes():
    session = Session(noise((2, 4, 3)), Toy(), labels=[f"n{k}" for k in range(300)])
    session.paint(np.ones((4, 3), bool), 1, label=300)
    assert session.label_map().dtype == np.uint16 and (session.label_map()[1] == 300).all()


@pytest.mark.parametrize("shape", [(1, 20, 30), (7, 1, 1), (1, 1, 1), (3, 1, 12)])
@pytest.mark.parametrize(
    "prompt",
    [
        Click(((0, 0),)),
        Click(((0, 0),), False),
        Scribble(((0, 0), (0, 0.3))),
        Box(((0, 0), (0, 0))),
        ExtremePoints(((0, 0), (0, 0), (0, 0), (0, 0))),
        Lasso(((-0.5, -0.5), (-0.5, 0.4), (0.5, 0))),
    ],
    ids=lambda prompt: f"{prompt.kind} {prompt.positive}",
)
def test_one_slice_and_slices_of_one_voxel(shape, prompt):
    session = Session(SliceVolume(np.ones(shape, np.float32), (1.0, 2.0, 0.5)))
    session.prompt(prompt, 0)
    session.prompt(Click(((0, 0),)), 0)
    found = session.label_map()
    assert found.shape == shape and found[0, 0, 0] == 1
    assert session.undo() and session.undo() and not session.undo()


WRONG = {
    "slice too high": (lambda s: s.prompt(click(1, 1), 9), "no slice 9; the image has slices 0 to"),
    "slice below 0": (lambda s: s.prompt(click(1, 1), -1), "no slice -1"),
    "slice between": (lambda s: s.confirm(1.5), "whole numbers, not 1.5"),
    "label 0": (lambda s: s.prompt(click(1, 1), 0, label=0), "no label 0; there are labels 1 to 1"),
    "label 2": (lambda s: s.quality(2), "no label 2"),
    "label true": (lambda s: s.clear(True), "whole numbers, not True"),
    "outside": (lambda s: s.prompt(click(16, 3), 0), "click: lies outside of a slice of 16 x 14"),
    "far": (lambda s: s.prompt(Box(((-99, 2), (5, 5))), 0), "a point lies far outside"),
    "wide": (lambda s: s.prompt(Scribble(((1, 1),), radius=1e9), 0), "is wider than a slice"),
    "shape of a mask": (lambda s: s.paint(np.ones((4, 4), bool), 0), "the mask is (4, 4)"),
    "shape of labels": (lambda s: s.import_labels(np.ones((4, 4, 4), int)), "its shape is"),
    "high label": (lambda s: s.import_labels(np.full((9, 16, 14), 5)), "holds 5, and the session"),
    "negative label": (lambda s: s.import_labels(np.full((9, 16, 14), -1)), "whole numbers from 0"),
    "label 0.5": (lambda s: s.import_labels(np.full((9, 16, 14), 0.5)), "whole numbers from 0"),
    "taken name": (lambda s: s.add_label("object"), "already"),
    "no name": (lambda s: s.add_label(" "), "a label's name is a text"),
    "coloured name": (lambda s: s.add_label("\x1b[31m"), "a label's name is a text"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line_and_changes_nothing(case):
    do, message = WRONG[case]
    session = Session(noise(), Toy())
    with pytest.raises(UserError) as error:
        do(session)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not session.can_undo and not session.label_map().any()


def test_numbers_of_numpy_are_numbers():
    session = Session(noise(), Toy())
    session.prompt(click(3, 3), np.int64(4), label=np.uint8(1))  # type: ignore[arg-type]
    assert session.confirmed() == [4]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_refused(bad):
    image = noise()
    image.image[3, 2, 1] = bad
    with pytest.raises(UserError, match="1 voxels are NaN or infinite"):
        Session(image, Toy())


@pytest.mark.parametrize("labels", [(), ("a", "a"), ("",), (3,)])
def test_names_of_labels_are_checked(labels):
    with pytest.raises(UserError):
        Session(noise(), Toy(), labels=labels)


def test_suggestions_end_when_all_slices_are_confirmed():
    session = Session(noise(), Toy())
    session.prompt(click(8, 7), 4)
    seen = []
    while (index := session.suggest()) is not None:
        session.confirm(index)
        seen.append(index)
    assert sorted([*seen, 4]) == list(range(9))


def test_without_scikit_image_a_method_must_be_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "invseg_jax.interactive.classical", None)
    with pytest.raises(UserError, match="invseg_jax.annotate."):
        Session(noise())
    assert Session(noise(), Toy()).method == "toy"
