"""The random walker with a prior, against what is known in closed form and against scikit-image."""

import numpy as np
import pytest
from skimage.segmentation import random_walker

from invseg_jax.interactive.growing import grown
from invseg_jax.interactive.random_walker import random_walk

NO_PRIOR = 1e-12


def test_between_two_seeds_of_a_flat_row_it_is_linear():
    seeds = np.zeros((1, 11), int)
    seeds[0, 0], seeds[0, -1] = 1, -1
    flat = np.zeros((1, 11))
    found = random_walk(flat, seeds, flat, np.full_like(flat, NO_PRIOR))
    np.testing.assert_allclose(found[0], np.linspace(1, 0, 11), atol=1e-6)


def test_without_seeds_the_prior_decides():
    prior = np.full((5, 6), 0.3)
    flat = np.zeros_like(prior)
    found = random_walk(flat, flat.astype(int), prior, np.full_like(prior, 0.1))
    np.testing.assert_allclose(found, 0.3)


def test_two_pixels_and_a_prior_by_hand():
    # x0 = 1 is a seed; w (x1 - 1) + s (x1 - p) = 0.
    image, weight = np.array([[0.0, 0.2]]), np.exp(-30 * 0.04) + 1e-6
    found = random_walk(image, np.array([[1, 0]]), np.full((1, 2), 0.25), np.full((1, 2), 0.5))
    assert found[0, 1] == pytest.approx((weight + 0.5 * 0.25) / (weight + 0.5))


def test_without_a_prior_it_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(20, 24))
    seeds = np.zeros((20, 24), int)
    seeds[3, 4:9], seeds[15, 2:20] = 1, -1
    scale = 10 * image.std()  # scikit-image divides beta by this
    wanted = random_walker(
        image, np.where(seeds < 0, 2, seeds), beta=0.7 * scale, mode="bf", return_full_prob=True
    )[0]
    found = random_walk(
        image, seeds, np.zeros(image.shape), np.full(image.shape, NO_PRIOR), beta=0.7
    )
    np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_all_seeds_or_one_pixel():
    seeds = np.array([[1, -1], [-1, 1]])
    flat = np.zeros((2, 2))
    assert np.array_equal(random_walk(flat, seeds, flat, flat + 1), seeds > 0)
    assert (
        random_walk(np.zeros((1, 1)), np.zeros((1, 1), int), np.ones((1, 1)), np.ones((1, 1))) == 1
    )


def disc(radius: float, centre=(32, 32), size: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


@pytest.mark.parametrize("radius", [10, 14, 18])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_mark_grows_to_the_border_of_its_disc(radius, sign):
    truth = disc(radius)
    image = sign * 4.0 * truth + np.random.default_rng(0).normal(0, 0.3, truth.shape)
    everywhere, nowhere = np.ones_like(truth), np.zeros_like(truth)
    found = grown(image, disc(2), nowhere, everywhere, 600)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8


def test_a_region_stays_within_what_it_may_take_and_off_the_other_marks():
    flat, left = np.zeros((64, 64)), np.zeros((64, 64), bool)
    left[:, :40] = True
    mark, other = disc(2, (32, 10)), disc(2, (32, 30))
    found = grown(flat, mark, other, left, 1e9)
    assert (found & mark).sum() == mark.sum() and not (found & ~left).any()
    assert not (found & other).any() and not found[32, 22:].any()


def test_a_mark_that_may_take_nothing_is_itself():
    mark, nowhere = disc(3), np.zeros((64, 64), bool)
    assert np.array_equal(grown(np.zeros((64, 64)), mark, nowhere, nowhere, 100), mark)
