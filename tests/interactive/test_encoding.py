"""Each prompt is drawn in its own channel, at its own place."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import multivariate_normal

from invseg_jax.interactive.encoding import CHANNELS, Encoding
from invseg_jax.interactive.prompts import Box, Click, ExtremePoints, Lasso, Scribble
from invseg_jax.interactive.window import Window

WINDOW = Window((0, 0), (1, 1), 48)


def channel(name: str, *prompts, mask=None, window: Window = WINDOW) -> np.ndarray:
    """The channel, after a check that no other channel was drawn in."""
    channels = Encoding()(prompts, window, mask)
    assert channels.shape == (window.size, window.size, len(CHANNELS))
    assert channels.dtype == np.float32 and channels.min() >= 0 and channels.max() <= 1
    for other in CHANNELS:
        if other != name:
            assert not channels[..., CHANNELS.index(other)].any(), other
    return channels[..., CHANNELS.index(name)]


def test_no_prompt_draws_nothing():
    assert not Encoding()([], WINDOW).any()


def test_extreme_points_are_gaussians_of_height_one():
    points = ((5, 20), (40, 22), (20, 8), (24.5, 41))
    drawn = channel("extreme points", ExtremePoints(points))
    normal = [multivariate_normal(point, 9) for point in points]
    pixels = np.moveaxis(np.mgrid[:48, :48], 0, -1)
    expected = np.max([one.pdf(pixels) / one.pdf(one.mean) for one in normal], axis=0)
    np.testing.assert_allclose(drawn, expected, atol=1e-6)


@pytest.mark.parametrize(("positive", "name"), [(True, "region"), (False, "not region")])
def test_a_box_holds_both_corners(positive, name):
    drawn = channel(name, Box(((30, 9), (10, 12)), positive))
    expected = np.zeros((48, 48))
    expected[10:31, 9:13] = 1
    assert np.array_equal(drawn, expected)


@pytest.mark.parametrize(("positive", "name"), [(True, "region"), (False, "not region")])
def test_a_lasso_is_filled(positive, name):
    angle = np.linspace(0, 2 * np.pi, 60)
    circle = np.stack([24 + 15 * np.sin(angle), 20 + 15 * np.cos(angle)], -1)
    drawn = channel(name, Lasso(tuple(map(tuple, circle)), positive))
    rows, columns = np.mgrid[:48, :48]
    disc = (rows - 24) ** 2 + (columns - 20) ** 2 <= 15**2
    assert (drawn != disc).sum() < 30 and drawn[24, 20] == 1


@pytest.mark.parametrize(("positive", "name"), [(True, "mark"), (False, "no mark")])
def test_a_click_is_a_disc(positive, name):
    drawn = channel(name, Click(((10, 30),), positive))
    assert drawn.sum() == 13  # the pixels within 2 of a pixel's centre
    assert ndimage.center_of_mass(drawn) == (10, 30)


@pytest.mark.parametrize(("positive", "name"), [(True, "mark"), (False, "no mark")])
def test_a_scribble_is_a_stroke_through_its_points(positive, name):
    drawn = channel(name, Scribble(((10, 5), (10, 35), (30, 35)), positive, radius=1))
    expected = np.zeros((48, 48))
    expected[10, 5:36] = expected[10:31, 35] = 1
    cross = ndimage.generate_binary_structure(2, 1)
    assert np.array_equal(drawn, ndimage.binary_dilation(expected, cross))


def test_a_scribble_of_one_point_is_a_dot():
    assert channel("mark", Scribble(((10, 5),), radius=0)).sum() == 1


def test_a_scribble_keeps_its_width_in_a_finer_window():
    scribble = Scribble(((10, 5), (10, 20)), radius=1)
    fine = Window((0, 0), (0.25, 0.25), 96)
    drawn = channel("mark", scribble, window=fine)
    assert drawn[:, 50].sum() == 9  # a radius of 4 pixels


@pytest.mark.parametrize("prompt", [Click, Scribble])
def test_what_lies_outside_is_not_drawn(prompt):
    far = Window((200, 200), (1, 1), 48)
    assert not channel("mark", prompt(((10, 5),)), window=far).any()


def test_a_line_from_outside_enters():
    drawn = channel("mark", Scribble(((-500, 24), (20, 24)), radius=0))
    assert drawn[:, 24].sum() == 21 and drawn.sum() == 21


def test_the_mask_before_is_an_input():
    mask = np.zeros((60, 60))
    mask[10:20, 10:20] = 0.75
    assert np.array_equal(channel("mask", mask=mask), mask[:48, :48].astype(np.float32))


def test_several_prompts_add_up():
    clicks = [Click(((10, 30),)), Click(((30, 10),))]
    both = channel("mark", *clicks)
    assert np.array_equal(both, channel("mark", clicks[0]) + channel("mark", clicks[1]))
