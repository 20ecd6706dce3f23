"""What the networks are trained on: frames, worn masks, slices and clips."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from invseg_jax.interactive import channels
from invseg_jax.interactive.examples import Shapes, clip_example, slice_example
from invseg_jax.interactive.frame import Frame
from invseg_jax.interactive.scores import dice
from invseg_jax.interactive.stack import Stack, neighbours, slice_axis
from invseg_jax.interactive.wear import worn
from invseg_jax.interactive.window import Window
from tests.interactive.stacks import ellipsoid, stack

SHAPES = Shapes(window=32, known=3, asked=3)


def frame(mask: np.ndarray, seed: int, *, turned: bool) -> Frame:
    inside = np.argwhere(mask)
    rng = np.random.default_rng(seed)
    return Frame.around(inside.min(0), inside.max(0), (1.0, 1.0), rng, turned=turned)


@pytest.mark.parametrize(
    ("spacing", "axis"), [((1, 1, 3), 2), ((3, 1, 1), 0), ((1, 1, 1), 2), ((2, 2, 1), 1)]
)
def test_slices_lie_across_the_longest_voxels(spacing, axis):
    assert slice_axis(spacing) == axis


def test_a_slice_at_the_end_is_its_own_neighbour():
    image = np.arange(3)[:, None, None] * np.ones((1, 2, 2))
    assert [plane[0, 0] for plane in neighbours(image, 0)] == [0, 0, 1]
    assert [plane[0, 0] for plane in neighbours(image, 1, -1)] == [2, 1, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_frame_that_is_not_turned_keeps_every_voxel(seed):
    mask = ellipsoid()[7]
    seen = frame(mask, seed, turned=False).mask(mask)
    assert seen.sum() == mask.sum()
    rows, columns = np.argwhere(seen).max(0) - np.argwhere(seen).min(0)
    high, wide = np.argwhere(mask).max(0) - np.argwhere(mask).min(0)
    assert sorted((rows, columns)) == sorted((high, wide))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_turned_frame_shows_an_object_of_the_same_size(seed):
    mask = ellipsoid()[7]
    seen = frame(mask, seed, turned=True).mask(mask)
    assert 0.6 < seen.sum() / mask.sum() < 1.6


def test_a_window_on_a_frame_shows_what_the_frame_shows():
    mask = ellipsoid()[7]
    whole = frame(mask, 3, turned=True)
    size = whole.at.shape[1]
    window = Window((2.0, 3.0), (1.0, 1.0), size - 8)
    part = whole.through(window)
    np.testing.assert_allclose(part.at, whole.at[:, 2:-6, 3:-5], atol=1e-4)
    image = np.random.default_rng(0).standard_normal(mask.shape)
    np.testing.assert_allclose(part.image(image), whole.image(image)[2:-6, 3:-5], atol=1e-3)


def test_a_frame_shows_nothing_beyond_the_slice():
    mask = np.zeros((12, 12), bool)
    mask[:4, :4] = True
    whole = frame(mask, 0, turned=False)
    shown = whole.image(np.ones((12, 12)))
    assert set(np.unique(shown)) == {0.0, 1.0}
    assert (shown > 0).sum() == whole.inside((12, 12)).sum()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_more_wear_leaves_less_of_a_mask(seed):
    mask = ellipsoid((1, 60, 60), (0, 30, 30), (1, 20, 16))[0]
    scores = [
        np.mean(
            [dice(worn(mask, np.random.default_rng((seed, i)), amount) > 0, mask) for i in range(8)]
        )
        for amount in (0.0, 0.05, 0.3)
    ]
    assert scores[0] == 1
    assert scores[0] > scores[1] > scores[2]
    assert 0.9 < scores[1] < 0.99


def test_wear_leaves_an_empty_mask_empty():
    assert not (worn(np.zeros((5, 6), bool), np.random.default_rng(0), 0.3) > 0).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000))
def test_a_slice_example_holds_its_object(seed):
    x, truth = slice_example(stack(), SHAPES, np.random.default_rng(seed))
    assert x.shape == (32, 32, channels.INTERACTION) and x.dtype == np.float32
    assert truth.shape == (32, 32) and truth.any()
    assert np.isfinite(x).all()
    prompts = x[..., 3:]
    assert prompts[..., :5].max() > 0
    assert 0 <= prompts.min() and prompts.max() <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000))
def test_a_clip_goes_away_from_a_known_slice_and_stops_before_the_next(seed):
    clip = clip_example(stack(), SHAPES, np.random.default_rng(seed))
    assert clip["asking"].shape == (4, 32, 32, channels.ASKING)
    assert clip["kept"].shape == (3, 32, 32, channels.KEPT)
    assert all(np.isfinite(array).all() for array in clip.values())
    assert clip["kept_valid"][0]
    steps = np.diff(clip["asking_z"])
    here = clip["scored"] > 0
    np.testing.assert_allclose(
        np.abs(steps[here]), np.abs(steps[here][:1]).max(initial=0), atol=1e-5
    )
    known, at = clip["kept_z"][clip["kept_valid"]], clip["asking_z"][1:][here]
    passed = (known[1:] - known[0]) / (at[:, None] - known[0])  # 0 to 1: known slices on the way
    assert not ((passed > 0) & (passed < 1 + 1e-4)).any()
    near = clip["asking"][:, 0, 0, 4]
    assert (np.diff(near[1:][here]) <= 0).all()  # farther from where it began, slice by slice


def test_the_mask_before_is_the_known_one_beside_it():
    for seed in range(40):
        clip = clip_example(stack(), SHAPES, np.random.default_rng(seed))
        if clip["asking"][0, 0, 0, 4] == 1:  # the slice before is the known slice itself
            assert np.array_equal(clip["before"], clip["kept"][0, ..., 3])
            return
    raise AssertionError("no clip began at its known slice")


def test_the_same_seed_gives_the_same_example():
    one, two = (clip_example(stack(), SHAPES, np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_an_object_of_one_voxel_and_a_volume_of_one_slice_make_examples():
    label = np.zeros((1, 9, 9), np.uint8)
    label[0, 4, 4] = 1
    image = label.astype(np.float32)
    tiny = Stack("tiny", image, label, (1.0, 1.0, 1.0), np.array([[1]]))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x, _ = slice_example(tiny, SHAPES, rng)
        assert np.isfinite(x).all()
        clip = clip_example(tiny, SHAPES, rng)
        assert not clip["scored"].any()
