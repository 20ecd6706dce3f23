"""Scores of masks, and of a network that judges its own masks."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import stats

from invseg_jax.interactive.click_protocol import area
from invseg_jax.interactive.rounds_table import RoundScore, csv_text, means
from invseg_jax.interactive.scores import Calibration, dice, surface_dice
from tests.interactive.stacks import ellipsoid

BALL = ellipsoid((20, 20, 20), (10, 10, 10), (6.3, 6.3, 6.3))


def surfaces_by_itk(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The contour of a mask, and the distance to it."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing[::-1])
    contour = sitk.BinaryContour(image, fullyConnected=False)
    away = sitk.SignedMaurerDistanceMap(contour, squaredDistance=False, useImageSpacing=True)
    return sitk.GetArrayFromImage(contour) > 0, np.abs(sitk.GetArrayFromImage(away))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.9, 1.1)])
@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.0, 3.5])
def test_the_surface_dice_is_what_itk_counts(spacing, tolerance):
    moved = np.roll(BALL, (1, 2, 0), (0, 1, 2))
    (one, to_one), (two, to_two) = (surfaces_by_itk(m, spacing) for m in (BALL, moved))
    near = np.count_nonzero(to_two[one] <= tolerance) + np.count_nonzero(to_one[two] <= tolerance)
    expected = near / (np.count_nonzero(one) + np.count_nonzero(two))
    assert surface_dice(BALL, moved, spacing, tolerance) == pytest.approx(expected, abs=1e-9)


def test_masks_that_are_empty():
    empty = np.zeros_like(BALL)
    assert dice(empty, empty) == surface_dice(empty, empty, (1, 1, 1)) == 1
    assert dice(empty, BALL) == surface_dice(empty, BALL, (1, 1, 1)) == 0
    assert dice(BALL, BALL) == surface_dice(BALL, BALL, (1, 1, 1)) == 1


def test_calibration_of_a_network_that_knows_and_of_one_that_boasts():
    true = np.linspace(0.05, 0.95, 19)
    knows = Calibration.of(true, true)
    assert knows.error == pytest.approx(0, abs=1e-12) and knows.correlation == pytest.approx(1)
    boasts = Calibration.of(np.minimum(true + 0.2, 1), true)
    assert 0.15 < boasts.error <= 0.2
    rng = np.random.default_rng(0)
    predicted = np.clip(true + rng.normal(0, 0.2, 19), 0, 1)
    found = Calibration.of(predicted, true)
    assert found.correlation == pytest.approx(np.asarray(stats.spearmanr(predicted, true))[0])
    assert found.bins[:, 2].sum() == 19


def test_calibration_where_all_is_alike_has_no_correlation():
    found = Calibration.of(np.full(4, 0.5), np.full(4, 0.7))
    assert np.isnan(found.correlation) and found.error == pytest.approx(0.2)


def test_the_challenges_area_leaves_the_box_out():
    assert area((0.1, 1.0, 1.0, 1.0, 1.0, 1.0)) == 4
    assert area((0.9, 0.0, 0.5, 1.0, 0.5, 0.0)) == 2


def test_means_are_over_cases_and_seeds():
    scores = [
        RoundScore(case, "box", "random", seed, number, value, 0.0, 1.0)
        for case, seed, number, value in [
            ("a", 0, 1, 0.2),
            ("a", 1, 1, 0.4),
            ("b", 0, 1, 0.6),
            ("b", 1, 1, 0.8),
            ("a", 0, 2, 1.0),
        ]
    ]
    assert means(scores, "dice") == {"box": {"random": [0.5, 1.0]}}
    lines = csv_text(scores).splitlines()
    assert lines[0] == "case,prompt,choice,seed,round,dice,surface_dice,seconds"
    assert lines[1] == "a,box,random,0,1,0.2,0.0,1.0"
