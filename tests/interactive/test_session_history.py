"""Undo and redo to the same bits, and replay of the log, for any actions in any order."""

import os
import tempfile
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from invseg_jax.interactive.prompts import Box, Click, Lasso, Scribble
from invseg_jax.interactive.session import Session
from tests.interactive.toy_method import Toy, click, disc, noise

SLICES, SHAPE = 5, (12, 10)
IMAGE = noise((SLICES, *SHAPE))

points = st.tuples(st.floats(0, SHAPE[0] - 1), st.floats(0, SHAPE[1] - 1))
prompts = st.one_of(
    st.builds(lambda p, positive: Click((p,), positive), points, st.booleans()),
    st.builds(lambda p: Box(tuple(p)), st.lists(points, min_size=2, max_size=2)),
    st.builds(lambda p, r: Scribble(tuple(p), True, r), st.lists(points, min_size=1), st.just(1.5)),
    st.builds(lambda p: Lasso(tuple(p), False), st.lists(points, min_size=3, max_size=5)),
)
slices, labels = st.integers(0, SLICES - 1), st.integers(1, 2)


def session() -> Session:
    return Session(IMAGE, Toy(), labels=("a", "b"), say=lambda line: None)


def painted(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE) > 0.5


def imported(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (SLICES, *SHAPE)).astype(np.uint8)


Action = Callable[[Session], object]


def action(name: str, *arguments, **named) -> Action:
    return lambda session: getattr(session, name)(*arguments, **named)


actions = st.one_of(
    st.builds(lambda p, z, k, c: action("prompt", p, z, k, carry=c), prompts, slices, labels,
              st.booleans()),
    st.builds(lambda k: action("carry", k), labels),
    st.builds(lambda z, k: action("confirm", z, k), slices, labels),
    st.builds(lambda s, z, k: action("paint", painted(s), z, k), st.integers(0, 9), slices, labels),
    st.builds(lambda s: action("import_labels", imported(s)), st.integers(0, 9)),
    st.builds(lambda k: action("clear", k), st.one_of(st.none(), labels)),
    st.integers(0, 10**9).map(lambda n: lambda s: s.add_label(f"n{n} {len(s.labels)}")),
)  # fmt: skip
with_undo = st.one_of(actions, st.just(action("undo")), st.just(action("redo")))


def bits(session: Session) -> tuple[object, ...]:
    """All that a session shows."""
    numbers = range(1, len(session.labels) + 1)
    return (
        session.labels,
        session.label_map().tobytes(),
        *(session.probabilities(k).tobytes() for k in numbers),
        *(session.quality(k).tobytes() for k in numbers),
        *(tuple(session.confirmed(k)) for k in numbers),
        *(tuple(session.stale(k)) for k in numbers),
        *(tuple(session.prompts(k).items()) for k in numbers),
    )


@settings(max_examples=40)
@given(st.lists(actions, max_size=12))
def test_undo_all_is_empty_and_redo_all_is_the_same_bits(todo):
    one = session()
    empty, seen = bits(one), [bits(one)]
    for do in todo:
        was = (one.can_undo, bits(one))
        do(one)
        assert not one.can_redo or bits(one) == was[1]
        # Carrying goes with the action before.
        if len(one._history.done) < len(seen):
            seen[-1] = bits(one)
        else:
            seen.append(bits(one))
    for wanted in reversed(seen):
        assert bits(one) == wanted
        assert one.undo() == (wanted is not seen[0])
    assert bits(one) == empty and not one.can_undo
    for wanted in seen:
        assert bits(one) == wanted
        assert one.redo() == (wanted is not seen[-1])
    assert not one.can_redo


@settings(max_examples=40)
@given(st.lists(with_undo, max_size=15), st.booleans())
def test_resumed_and_replayed_sessions_are_the_same_bits_and_go_on_the_same(todo, autosaved):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "session.jsonl")
        one = session()
        if autosaved:
            one.autosave(path)
        for do in todo:
            do(one)
        if not autosaved:
            one.write_log(path)
        others = [
            Session.resume(path, IMAGE, Toy(), say=lambda line: None),
            Session.replay(path, IMAGE, Toy(), say=lambda line: None),
        ]
        one.autosave(None)
    for other in others:
        assert bits(other) == bits(one)
    moves = (*[action("undo")] * 3, *[action("redo")] * 9, *[action("undo")] * 99)
    for move in (*moves, *[action("redo")] * 99):
        found = [(move(each), bits(each)) for each in (one, *others)]
        assert found[0] == found[1] == found[2]


def test_what_was_undone_is_gone_after_another_action():
    one = session()
    one.prompt(click(5, 5), 2)
    one.undo()
    one.prompt(click(2, 2), 1)
    assert not one.can_redo and one.confirmed() == [1]


def kept_bytes(session: Session) -> int:
    """The bytes of all probabilities in the history; those of a shared slice count once."""
    steps = list(session._history.steps())
    states = [s for step in steps for s in (*step.before.values(), *step.after.values())]
    return sum(len(v) for v in {id(s.values): s.values for s in states}.values())


def test_300_prompts_keep_few_bytes_and_no_more_than_they_change():
    image = noise((60, 96, 80))
    one, rng, counts = Session(image, Toy()), np.random.default_rng(0), []
    for n in range(300):
        row, column = rng.integers(0, 96), rng.integers(0, 80)
        one.prompt(click(int(row), int(column), n % 3 > 0), int(rng.integers(0, 60)))
        counts.append(kept_bytes(one))
    # A copy of the probabilities for each step would take 300 times 60 x 96 x 80 x 4 bytes.
    assert counts[-1] < 0.1 * image.image.nbytes
    # Later prompts reach fewer slices: the last hundred takes no more than the first.
    assert counts[299] - counts[199] < counts[99]
    # All that is known of the slices now is one state each.
    assert len(one._state.slices) <= 60
    while one.undo():
        pass
    assert not one._state.slices


def test_a_slice_that_carrying_makes_the_same_takes_no_more_bytes():
    one = session()
    one.paint(disc((5, 5), SHAPE), 0)
    one.carry()
    one.paint(disc((5, 5), SHAPE), 0)
    one.carry()
    assert len(list(one._history.steps())[-1].after) == len(one.stale()) + 4
