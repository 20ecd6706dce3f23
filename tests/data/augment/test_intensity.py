import numpy as np
import pytest
from scipy import ndimage

from invseg_jax.data.augment.intensity import CHANGES


@pytest.mark.parametrize("name", CHANGES)
def test_background_stays_exactly_zero_and_the_body_changes(run, head, only, name):
    image, label = head()
    what = only(**{f"{name}_probability": 1.0})
    new_image, new_label = run(image, label, what)
    np.testing.assert_array_equal(new_image[image == 0], 0)
    assert (new_image != image)[image != 0].mean() > 0.9
    np.testing.assert_array_equal(new_label, label)


@pytest.mark.parametrize("fill", [0.0, 2.5, -1.5])
def test_constant_and_empty_channels_stay_finite(run, head, only, fill):
    image, label = head()
    image[0, ..., 1] = fill
    new_image, _ = run(image, label, only(gamma_probability=1, contrast_probability=1))
    assert np.isfinite(new_image).all()
    np.testing.assert_allclose(new_image[0, ..., 1], fill, atol=1e-5)


def test_noise_has_the_standard_deviation_asked_for(run, head, only):
    image, label = head(2, (20, 20, 20))
    new_image, _ = run(image, label, only(noise_probability=1, noise=(0.3, 0.3)))
    change = (new_image - image)[image != 0]
    assert abs(change.std() - 0.3) < 0.01 and abs(change.mean()) < 0.01


def test_brightness_is_one_factor_a_channel(run, head, only):
    image, label = head()
    new_image, _ = run(image, label, only(brightness_probability=1, brightness=(0.5, 2.0)))
    factor = (new_image / np.where(image == 0, 1, image))[:, 2:]
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1, :1], factor.shape), 1e-5)
    factors = factor[:, 0, 0, 0].ravel()
    assert len(np.unique(factors.round(4))) == 4
    assert ((factors >= 0.5) & (factors <= 2.0)).all()


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_contrast_scales_about_the_mean_of_the_body(run, head, only, factor):
    image, label = head()
    what = only(contrast_probability=1, contrast=(factor, factor))
    new_image, _ = run(image, label, what)
    for new, old in zip(new_image, image, strict=True):
        for c in range(old.shape[-1]):
            body = old[..., c][old[..., c] != 0]
            expected = np.clip((body - body.mean()) * factor + body.mean(), body.min(), body.max())
            np.testing.assert_allclose(new[..., c][old[..., c] != 0], expected, atol=1e-5)


@pytest.mark.parametrize("exponent", [0.5, 1.8])
def test_gamma_bends_negative_values_safely_and_keeps_mean_and_deviation(run, head, only, exponent):
    image, label = head()
    image = np.where(image == 0, 0, image - 3).astype(np.float32)
    new_image, _ = run(image, label, only(gamma_probability=1, gamma=(exponent, exponent)))
    for new, old in zip(new_image, image, strict=True):
        for c in range(old.shape[-1]):
            before, after = old[..., c][old[..., c] != 0], new[..., c][old[..., c] != 0]
            unit = (before.astype(np.float64) - before.min()) / np.ptp(before)
            curve = unit**exponent
            expected = (curve - curve.mean()) / curve.std() * before.std() + before.mean()
            np.testing.assert_allclose(after, expected, atol=1e-4)
            assert abs(after.mean() - before.mean()) < 1e-4
            assert abs(after.std() - before.std()) < 1e-4


def test_probabilities_are_kept(run, head, only):
    image, label = head(400, (3, 2, 2), 1)
    new_image, _ = run(image, label, only(brightness_probability=0.3))
    changed = (new_image != image).any(axis=(1, 2, 3, 4)).mean()
    assert 0.2 < changed < 0.4


def test_blur_is_scipys_inside_of_the_body(run, head, only):
    image, label = head()
    new_image, _ = run(image, label, only(blur_probability=1, blur=(0.8, 0.8)))
    for new, old in zip(new_image, image, strict=True):
        for c in range(old.shape[-1]):
            blurred = ndimage.gaussian_filter(old[..., c], 0.8, mode="reflect", truncate=9.0)
            expected = np.where(old[..., c] == 0, 0, blurred)
            np.testing.assert_allclose(new[..., c], expected, atol=1e-5)


@pytest.mark.parametrize("name, strength", [("blur", (0.0, 2.0)), ("low_resolution", (0.2, 1.0))])
def test_each_channel_has_a_strength_of_its_own(run, head, only, name, strength):
    image, label = (np.repeat(a, 2, axis=-1) if a.ndim == 5 else a for a in head(1, channels=1))
    new_image, _ = run(image, label, only(**{f"{name}_probability": 1.0, name: strength}))
    assert not np.allclose(new_image[..., 0], new_image[..., 1], atol=1e-3)


def test_the_bias_field_is_a_bounded_factor(run, head, only):
    image, label = head()
    new_image, _ = run(image, label, only(bias_field_probability=1, bias_field=(1.4, 1.4)))
    factor = new_image[image != 0] / image[image != 0]
    assert factor.min() >= 1 / 1.4001 and factor.max() <= 1.4001
    assert factor.max() > 1.2 or factor.min() < 1 / 1.2
