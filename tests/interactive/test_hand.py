"""The simulated hand draws what a person would, near to where it aims, and the same for a seed."""

import numpy as np
import pytest
from scipy import ndimage

from invseg_jax.errors import UserError
from invseg_jax.interactive.encoding import CHANNELS, Encoding
from invseg_jax.interactive.hand import Hand, next_click
from invseg_jax.interactive.prompts import Scribble
from invseg_jax.interactive.window import Window

STEADY = Hand(noise=0)


def blob(seed: int, size: int = 96) -> np.ndarray:
    """A mask of one large bent part and some small ones."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.standard_normal((size, size)), 7)
    return smooth > np.quantile(smooth, 0.8)


def largest(mask: np.ndarray) -> np.ndarray:
    parts = np.zeros(mask.shape, int)
    ndimage.label(mask, np.ones((3, 3)), output=parts)
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def drawn(prompt, size: int, name: str) -> np.ndarray:
    channels = Encoding()([prompt], Window((0, 0), (1, 1), size))
    return channels[..., CHANNELS.index(name)] > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_extreme_points_touch_all_four_sides(seed):
    mask = blob(seed)
    points = np.array(STEADY.extreme_points(mask, np.random.default_rng(seed)).points)
    assert mask[tuple(points.astype(int).T)].all()
    inside = np.argwhere(mask)
    assert np.array_equal(points.min(axis=0), inside.min(axis=0))
    assert np.array_equal(points.max(axis=0), inside.max(axis=0))


@pytest.mark.parametrize("seed", range(5))
def test_a_box_is_the_smallest_one(seed):
    mask = blob(seed)
    box = STEADY.box(mask, np.random.default_rng(seed))
    inside = np.argwhere(mask)
    assert box.bounds == (tuple(inside.min(axis=0)), tuple(inside.max(axis=0)))


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_errors_have_the_stated_deviation(noise):
    mask = np.zeros((200, 200), bool)
    mask[90:110, 80:130] = True
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(400):
        (low, high) = Hand(noise).box(mask, rng).bounds
        errors += [low[0] - 90, low[1] - 80, high[0] - 109, high[1] - 129]
    assert abs(np.std(errors) / noise - 1) < 0.1
    assert abs(np.mean(errors)) < 0.1 * noise


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_a_scribble_stays_inside_and_spans_the_part(seed, noise):
    mask = blob(seed)
    part = largest(mask)
    scribble = Hand(noise).scribble(mask, np.random.default_rng(seed))
    stroke = drawn(Scribble(scribble.points, radius=0), 96, "mark")
    assert (stroke & part).sum() / stroke.sum() > 0.97
    # From one end to the other: no voxel of the part is far from the line.
    reach = np.asarray(ndimage.distance_transform_edt(~stroke))[part].max()
    size = np.linalg.norm(np.ptp(np.argwhere(part), axis=0))
    assert stroke.sum() > 0.3 * size and reach < 0.5 * size


@pytest.mark.parametrize("seed", range(5))
def test_a_lasso_surrounds_the_part_closely(seed):
    mask = blob(seed)
    part = np.asarray(ndimage.binary_fill_holes(largest(mask)))
    region = drawn(Hand(0.5).lasso(mask, np.random.default_rng(seed)), 96, "region")
    assert (region & part).sum() / part.sum() > 0.98
    wide = np.asarray(ndimage.binary_dilation(part, iterations=8), bool)
    assert not (region & ~wide).any()


@pytest.mark.parametrize("seed", range(5))
def test_a_click_is_inside(seed):
    mask = blob(seed)
    click = Hand(3.0).click(mask, np.random.default_rng(seed))
    assert largest(mask)[tuple(np.rint(click.points[0]).astype(int))]


@pytest.mark.parametrize("what", ["extreme_points", "box", "lasso", "scribble", "click"])
def test_a_seed_draws_the_same_prompt_again(what):
    mask = blob(3)
    first, second, other = (
        getattr(Hand(1.0), what)(mask, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first == second != other


@pytest.mark.parametrize("what", ["extreme_points", "box", "lasso", "scribble", "click"])
def test_a_single_voxel_can_be_marked_and_an_empty_mask_cannot(what):
    mask = np.zeros((20, 20), bool)
    with pytest.raises(UserError, match="empty mask"):
        getattr(Hand(), what)(mask, np.random.default_rng(0))
    mask[19, 0] = True
    points = np.array(getattr(Hand(), what)(mask, np.random.default_rng(0)).points)
    assert (points >= 0).all() and (points <= 19).all()
    assert np.abs(points - (19, 0)).max() < 8


def test_the_next_click_is_in_the_middle_of_the_largest_error():
    truth, prediction = np.zeros((2, 9, 30, 30), bool)
    truth[1:8, 5:12, 5:12] = True
    assert next_click(truth, prediction, np.random.default_rng(0)) == ((4, 8, 8), True)
    prediction[1:8, 5:12, 5:12] = True
    prediction[1:4, 20:25, 20:23] = True
    click = next_click(truth, prediction, np.random.default_rng(0))
    assert click is not None
    voxel, positive = click
    assert not positive and voxel[0] == 2 and voxel[1] in (21, 22, 23) and voxel[2] == 21
    assert next_click(truth, truth, np.random.default_rng(0)) is None


def test_errors_that_touch_at_a_corner_are_one():
    truth = np.zeros((4, 4, 4), bool)
    truth[0, 0, 0] = truth[1, 1, 1] = truth[3, 3, 0] = True
    clicks = {
        next_click(truth, np.zeros_like(truth), np.random.default_rng(seed)) for seed in range(9)
    }
    assert clicks == {((0, 0, 0), True), ((1, 1, 1), True)}
