"""Normalisation is compared with plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from invseg_jax.data.prepare.normalise import Intensities, normalise


def z_score(image: np.ndarray) -> np.ndarray:
    """Each channel of (D, H, W, C)."""
    channels = np.moveaxis(image, -1, 0)
    return np.stack([normalise(c, "z_score_nonzero") for c in channels], axis=-1)


def test_z_score_is_over_non_zero_voxels(rng: np.random.Generator) -> None:
    image = rng.normal(100, 15, (6, 5, 4, 2)) * (rng.random((6, 5, 4, 2)) > 0.4)
    image[..., 1] *= -3
    before = image.copy()
    result = z_score(image)
    assert result.dtype == np.float32 and result.shape == image.shape
    np.testing.assert_array_equal(image, before)
    for c in range(2):
        channel = image[..., c]
        inside = channel[channel != 0]
        expected = np.where(channel == 0, 0, (channel - inside.mean()) / inside.std())
        np.testing.assert_allclose(result[..., c], expected, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.0, -3e4])
def test_channels_without_contrast_become_zero(value: float) -> None:
    image = np.zeros((3, 3, 3, 2), np.float32)
    image[1:, ..., 0] = value
    image[..., 1] = np.arange(27).reshape(3, 3, 3)
    result = z_score(image)
    assert not result[..., 0].any()
    assert result[..., 1].any()


def test_one_non_zero_voxel_and_huge_values() -> None:
    image = np.zeros((2, 2, 2, 1), np.float32)
    image[0, 0, 0] = 5
    assert not z_score(image).any()
    image[..., 0] = np.linspace(-3e38, 3e38, 8).reshape(2, 2, 2)
    assert np.isfinite(z_score(image)).all()
    np.testing.assert_allclose(z_score(image).std(), 1, rtol=1e-5)


@settings(max_examples=50)
@given(arrays(np.float32, (3, 2, 2, 1), elements=st.floats(-1e6, 1e6, width=32)))
def test_z_score_keeps_zeros_and_moments(image: np.ndarray) -> None:
    result = z_score(image)
    assert np.isfinite(result).all()
    assert not result[image == 0].any()
    inside = result[image != 0].astype(np.float64)
    if inside.any():
        assert abs(inside.mean()) < 1e-5
        assert abs(inside.std() - 1) < 1e-5


def test_z_score_over_all_voxels(rng: np.random.Generator) -> None:
    channel = rng.normal(100, 15, (6, 5, 4)) * (rng.random((6, 5, 4)) > 0.4)
    expected = (channel - channel.mean()) / channel.std()
    np.testing.assert_allclose(normalise(channel, "z_score"), expected, atol=1e-6)
    assert not normalise(np.full((2, 2, 2), 7.0), "z_score").any()
    assert not normalise(np.zeros((1, 1, 1)), "z_score").any()


def test_ct_is_clipped_and_on_the_scale_of_the_training_cases(rng: np.random.Generator) -> None:
    hounsfield = rng.integers(-1024, 3000, (6, 5, 4)).astype(np.int16)
    seen = Intensities(mean=40.0, std=25.0, median=45.0, low=-100.0, high=200.0)
    result = normalise(hounsfield, "ct", seen)
    assert result.dtype == np.float32
    expected = (np.minimum(np.maximum(hounsfield, -100.0), 200.0) - 40.0) / 25.0
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)
    # One intensity in the foreground, and so no scale.
    flat = Intensities(mean=40.0, std=0.0, median=40.0, low=40.0, high=40.0)
    assert not normalise(hounsfield, "ct", flat).any()


@pytest.mark.parametrize("scheme", ["z_score_nonzero", "z_score", "ct"])
@pytest.mark.parametrize("extreme", [3e38, -3e38, 1e-42])
@pytest.mark.parametrize("voxels", [1, 500])
def test_extreme_voxels_give_finite_values(
    rng: np.random.Generator, scheme: str, extreme: float, voxels: int
) -> None:
    channel = rng.normal(100, 15, (10, 10, 10)).astype(np.float32)
    channel.reshape(-1)[:voxels] = extreme
    values = channel.astype(np.float64)
    # The widest that percentiles can be, and a deviation that float32 cannot hold.
    for deviation in (values.std(), 1e-60):
        seen = Intensities(values.mean(), deviation, 100.0, min(extreme, 0.0), max(extreme, 120.0))
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            result = normalise(channel, scheme, seen)
        assert result.dtype == np.float32 and np.isfinite(result).all()


def test_ct_of_both_extremes_is_as_in_float64() -> None:
    channel = np.linspace(-3.3e38, 3.3e38, 27, dtype=np.float32).reshape(3, 3, 3)
    seen = Intensities(-3e38, 1e38, 0.0, -3.2e38, 3.2e38)
    clipped = np.clip(channel.astype(np.float64), -3.2e38, 3.2e38)
    np.testing.assert_allclose(normalise(channel, "ct", seen), (clipped + 3e38) / 1e38, rtol=1e-6)
