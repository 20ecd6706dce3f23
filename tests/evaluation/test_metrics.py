"""Dice against a brute-force second implementation, and the rule on empty classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from invseg_jax.evaluation import metrics
from invseg_jax.evaluation.metrics import confusion, dice, iou_from_dice, nan_mean, nan_std


def brute_force(prediction, truth, classes):
    scores = []
    pairs = list(zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True))
    for c in range(1, classes):
        both = sum(p == c and t == c for p, t in pairs)
        size = sum(p == c for p, _ in pairs) + sum(t == c for _, t in pairs)
        scores.append(2 * both / size if size else float("nan"))
    return np.array(scores)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_dice_equals_brute_force(data):
    classes = data.draw(st.integers(1, 5))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=5))
    dtype = data.draw(st.sampled_from([np.uint8, np.int16, np.int32, np.int64]))
    labels = hnp.arrays(dtype, shape, elements=st.integers(0, classes - 1))
    prediction, truth = data.draw(labels), data.draw(labels)
    score = dice(prediction, truth, classes)
    assert score.shape == (classes - 1,)
    assert score.dtype == np.float64
    np.testing.assert_array_equal(score, brute_force(prediction, truth, classes))
    np.testing.assert_array_equal(score, dice(truth, prediction, classes))
    present = np.isin(np.arange(1, classes), truth)
    np.testing.assert_array_equal(dice(truth, truth, classes), np.where(present, 1.0, np.nan))


def test_intersection_over_union():
    rng = np.random.default_rng(2)
    prediction, truth = rng.integers(0, 4, size=(2, 200))
    found = iou_from_dice(dice(prediction, truth, 5))
    expected = [
        np.sum((prediction == k) & (truth == k)) / np.sum((prediction == k) | (truth == k))
        for k in (1, 2, 3)
    ]
    np.testing.assert_allclose(found, [*expected, np.nan])


def test_empty_rule():
    truth = np.zeros((3, 3, 3), np.uint8)
    prediction = truth.copy()
    truth[0], prediction[1] = 1, 2
    np.testing.assert_array_equal(dice(prediction, truth, 4), [0.0, 0.0, np.nan])
    assert np.isnan(dice(truth * 0, truth * 0, 2)).all()


def test_uint8_does_not_overflow():
    truth = np.full((4, 4), 200, np.uint8)
    score = dice(truth, truth, 256)
    assert score[199] == 1.0
    assert np.isnan(np.delete(score, 199)).all()


def test_volumes_larger_than_one_part(monkeypatch):
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 3, size=(2, 5, 7, 9))
    whole = confusion(prediction, truth, 3)
    monkeypatch.setattr(metrics, "_PART", 10)
    np.testing.assert_array_equal(confusion(prediction, truth, 3), whole)
    assert whole.sum() == truth.size
    assert whole[1, 2] == np.sum((truth == 1) & (prediction == 2))


@pytest.mark.parametrize(
    ("prediction", "truth", "words"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), "differ in shape"),
        (np.zeros(3), np.zeros(3, int), "prediction must hold class indices"),
        (np.zeros(3, int), np.array([0, 1, 7]), "truth holds values 0 to 7"),
        (np.array([-1, 0, 1]), np.zeros(3, int), "prediction holds values -1 to 1"),
    ],
)
def test_wrong_use_is_refused(prediction, truth, words):
    with pytest.raises(ValueError, match=words):
        dice(prediction, truth, 2)


def test_means_leave_nan_out_without_a_warning():
    table = np.array([[1.0, np.nan, 0.2], [0.5, np.nan, np.nan], [0.6, np.nan, 0.4]])
    np.testing.assert_allclose(nan_mean(table, axis=0), [0.7, np.nan, 0.3])
    np.testing.assert_allclose(nan_mean(table[:1]), 0.6)
    expected = np.array([np.std(table[:, 0], ddof=1), np.nan, np.std([0.2, 0.4], ddof=1)])
    np.testing.assert_allclose(nan_std(table), expected)
    assert np.isnan(nan_std(table[:1])).all()
    assert np.isnan(nan_mean(np.zeros((0, 3)), axis=0)).all()
