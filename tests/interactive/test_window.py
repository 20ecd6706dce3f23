"""A window shows a part of a slice, and puts what it shows back in place."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage

from invseg_jax.errors import UserError
from invseg_jax.interactive.prompts import Box, Click, Scribble
from invseg_jax.interactive.window import Window


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return ndimage.gaussian_filter(rng.standard_normal((40, 40)), 2).astype(np.float32)


def test_a_window_of_the_slices_own_grid_is_the_slice(image):
    window = Window((0, 0), (1, 1), 40)
    assert np.array_equal(window.cut(image), image)
    assert np.array_equal(window.paste(image, image.shape), image)
    assert Window.whole((40, 40), (0.7, 0.7), 40) == window


def test_a_window_over_the_border_sees_nothing_there(image):
    part = Window((-8, 30), (1, 1), 20).cut(image, outside=-5)
    assert np.array_equal(part[8:, :10], image[:12, 30:])
    assert (part[:8] == -5).all() and (part[:, 10:] == -5).all()


def test_pixels_lie_where_scipys_zoom_puts_them(image):
    doubled = Window((0, 0), (0.5, 0.5), 80).cut(image)
    expected = ndimage.zoom(image, 2, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(doubled, np.asarray(expected), atol=1e-6)


@settings(max_examples=30)
@given(st.floats(-10, 30), st.floats(-10, 30), st.floats(0.3, 1.5), st.floats(0.3, 1.5))
def test_pasting_undoes_cutting(row, column, rows, columns):
    # A plane is the same after any linear interpolation, and smoothing leaves its inside alone.
    at = np.mgrid[:40, :40].astype(np.float32)
    image = 0.5 * at[0] - 0.25 * at[1]
    window = Window((row, column), (rows, columns), 32)
    pasted = window.paste(window.cut(image), image.shape, outside=np.nan)
    inside = np.isfinite(pasted)
    # Beside the borders the last values are repeated: two pixels, or three voxels of the slice.
    core = np.asarray(ndimage.binary_erosion(inside, iterations=4), bool)
    core[:4], core[-4:], core[:, :4], core[:, -4:] = False, False, False, False
    np.testing.assert_allclose(pasted[core], image[core], atol=1e-3)


def test_points_move_with_the_pixels(image):
    bright = np.zeros((40, 40))
    bright[12, 31] = 1
    window = Window((4, 20), (0.5, 0.25), 64)
    ((row, column),) = window.moved([(12, 31)])
    found = ndimage.center_of_mass(window.cut(bright))
    np.testing.assert_allclose((row, column), found, atol=0.01)


def test_a_window_is_a_square_in_millimetres():
    window = Window.around([Box(((10, 10), (19, 14)))], (1.0, 2.0), 100, margin=0.5, least=1)
    assert window.step == (0.2, 0.1)  # the box is 10 mm x 10 mm, with its margins 20 mm x 20 mm
    assert window.low == (5, 7.5)


def test_a_click_alone_has_a_window_of_the_least_side():
    window = Window.around([Click(((10, 10),))], (0.5, 0.5), 64, least=32)
    assert window.step == (1, 1) and window.low == (-21.5, -21.5)


def test_all_prompts_are_inside():
    prompts = [Click(((3, 60),)), Scribble(((50, 2), (40, 9)))]
    window = Window.around(prompts, (1, 1), 64)
    points = window.moved([point for prompt in prompts for point in prompt.points])
    assert (points > 0).all() and (points < 63).all()


def test_no_prompt_has_no_window():
    with pytest.raises(UserError, match="at least one prompt"):
        Window.around([], (1, 1), 64)


def test_a_grown_window_keeps_its_centre():
    window = Window((4, 20), (0.5, 0.25), 64)
    grown = window.grown(2)
    centres = [np.array(w.low) + np.array(w.step) * w.size / 2 for w in (window, grown)]
    np.testing.assert_allclose(centres[0], centres[1])
    assert grown.step == (1, 0.5)


def test_masks_keep_their_type_and_values(image):
    mask = image > 0
    part = Window((3.2, 4.1), (0.7, 0.7), 30).cut(mask, order=0)
    assert part.dtype == bool and part.any() and not part.all()


def test_channels_are_cut_one_by_one(image):
    window = Window((3.2, 4.1), (1.7, 0.7), 16)
    both = window.cut(np.stack([image, -image], -1))
    np.testing.assert_array_equal(both[..., 0], window.cut(image))
    np.testing.assert_allclose(both[..., 1], -both[..., 0])
