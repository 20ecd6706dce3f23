"""Sliding window: exact on functions of a voxel, weights of sum one, one shape for all calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invseg_jax.inference.sliding_window import sliding_window, window_starts, window_weights


def per_voxel(patches):
    """Two probabilities that depend on each voxel alone."""
    first = 1.0 / (1.0 + np.exp(-patches[..., 0]))
    return np.stack([first, 1.0 - first], axis=-1).astype(np.float32)


def volume(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((13, 17, 11, 1), (8, 8, 8)),
        ((16, 16, 16, 2), (8, 8, 8)),
        ((5, 7, 3, 1), (8, 8, 8)),
        ((5, 19, 8, 2), (6, 7, 8)),
        ((1, 1, 1, 1), (4, 4, 4)),
        ((9, 4, 6, 3), (1, 3, 5)),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_function_of_each_voxel_comes_back(shape, patch, batch, overlap):
    image = volume(*shape)
    result = sliding_window(per_voxel, image, patch=patch, classes=2, batch=batch, overlap=overlap)
    assert result.shape == (*shape[:3], 2)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result, per_voxel(image), rtol=2e-6, atol=0)


def test_is_the_weighted_average_of_the_patches():
    """Against a plain loop with a volume of weights, for a predict that is not per-voxel."""
    image, patch = volume(11, 9, 14, 1), (6, 4, 8)

    def position(patches):
        ramp = np.linspace(0, 1, patch[2], dtype=np.float32)
        return np.broadcast_to(ramp[:, None], (*patches.shape[:4], 1)) * patches[:, :1, :1, :1]

    axes = [np.arange(p) - (p - 1) / 2 for p in patch]
    grid = np.meshgrid(*axes, indexing="ij")
    gaussian = np.exp(-0.5 * sum((g / (p / 8)) ** 2 for g, p in zip(grid, patch, strict=True)))
    total, weight = np.zeros((11, 9, 14)), np.zeros((11, 9, 14))
    for d in window_starts(11, 6, 0.5):
        for h in window_starts(9, 4, 0.5):
            for w in window_starts(14, 8, 0.5):
                here = np.s_[d : d + 6, h : h + 4, w : w + 8]
                total[here] += gaussian * position(image[here][None])[0, ..., 0]
                weight[here] += gaussian
    result = sliding_window(position, image, patch=patch, classes=1, batch=4)
    np.testing.assert_allclose(result[..., 0], total / weight, rtol=1e-5, atol=1e-6)


def test_small_volume_stands_in_the_centre_of_zeros():
    image = np.ones((3, 8, 2, 1), np.float32)
    seen = []

    def predict(patches):
        seen.append(patches.copy())
        return patches

    result = sliding_window(predict, image, patch=(6, 8, 8), classes=1)
    expected = np.zeros((1, 6, 8, 8, 1), np.float32)
    expected[0, 1:4, :, 3:5] = 1
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], expected)
    np.testing.assert_allclose(result, image, rtol=1e-6)


def test_every_call_has_the_same_shape_and_the_calls_are_counted():
    shapes, reports = [], []

    def predict(patches):
        shapes.append(patches.shape)
        return per_voxel(patches)

    # Starts 0, 4, 8, 9 and 0, 4 and 0: eight patches, in batches of three.
    sliding_window(
        predict,
        volume(17, 12, 8, 1),
        patch=(8, 8, 8),
        classes=2,
        batch=3,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert shapes == [(3, 8, 8, 8, 1)] * 3
    assert reports == [(3, 8), (6, 8), (8, 8)]


def test_jitted_predict_compiles_once_even_with_bfloat16_output():
    traces = []

    @jax.jit
    def predict(patches):
        traces.append(patches.shape)
        first = jax.nn.sigmoid(patches[..., :1])
        return jnp.concatenate([first, 1 - first], axis=-1).astype(jnp.bfloat16)

    image = volume(9, 8, 13, 1)
    result = sliding_window(predict, image, patch=(4, 8, 8), classes=2, batch=4)
    assert traces == [(4, 4, 8, 8, 1)]
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, per_voxel(image), atol=4e-3)


@settings(max_examples=100, deadline=None)
@given(
    length=st.integers(1, 200),
    patch=st.integers(1, 64),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99]),
)
def test_windows_cover_the_axis_evenly_and_their_weights_sum_to_one(length, patch, overlap):
    length = max(length, patch)
    starts = window_starts(length, patch, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - patch
    steps = np.diff(starts)
    assert np.all(steps >= 1)
    assert np.all(steps <= max(1.0, patch * (1 - overlap) + 1e-6))
    assert np.ptp(steps) <= 1 if len(steps) else True
    weights = window_weights(length, patch, starts)
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + patch] += weight
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)


def test_the_centre_of_a_patch_weighs_most_and_both_sides_alike():
    single = window_weights(100, 9, np.arange(92))  # inside, all patches overlap alike
    inner = single[45]
    assert np.argmax(inner) == 4
    np.testing.assert_allclose(inner, inner[::-1], rtol=1e-6)
    # sigma = 9 / 8 voxels
    np.testing.assert_allclose(inner[6] / inner[4], np.exp(-0.5 * (2 * 8 / 9) ** 2), rtol=1e-5)


def test_number_of_windows_with_decimal_overlap():
    np.testing.assert_array_equal(window_starts(20, 10, 0.8), [0, 2, 4, 6, 8, 10])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": np.zeros((4, 4, 4), np.float32)}, "D, H, W, C"),
        ({"image": np.zeros((4, 0, 4, 1), np.float32)}, "not empty"),
        ({"patch": (4, 4)}, "three positive"),
        ({"patch": (4, 0, 4)}, "three positive"),
        ({"overlap": 1.0}, "overlap"),
        ({"overlap": float("nan")}, "overlap"),
        ({"batch": 0}, "batch"),
        ({"classes": 3}, r"predict returned shape \(1, 4, 4, 4, 2\)"),
    ],
)
def test_wrong_use_is_refused(change, words):
    settings_ = {"image": volume(6, 6, 6, 1), "patch": (4, 4, 4), "classes": 2, **change}
    image = settings_.pop("image")
    with pytest.raises(ValueError, match=words):
        sliding_window(per_voxel, image, **settings_)
