import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from invseg_jax.data.augment import Augmentation, augment
from invseg_jax.errors import UserError

OFF = Augmentation.off()
EVERYTHING = Augmentation(
    affine_probability=1.0,
    noise_probability=1.0,
    brightness_probability=1.0,
    contrast_probability=1.0,
    gamma_probability=1.0,
)
compiled = functools.partial(jax.jit, static_argnames="settings")(augment)


def only(**changes):
    return dataclasses.replace(OFF, **changes)


def head(n=2, shape=(10, 12, 9), channels=2, seed=0):
    """Images of a body in a background of exact zeros, of negative and positive values."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(n, *shape, channels)).astype(np.float32)
    label = rng.integers(0, 4, (n, *shape)).astype(np.int32)
    image[:, :2], label[:, :2] = 0, 0
    return image, label


def run(image, label, what, seed=0):
    new_image, new_label = compiled(jax.random.key(seed), image, label, settings=what)
    return np.asarray(new_image), np.asarray(new_label)


@pytest.mark.parametrize(
    "what",
    [
        OFF,
        only(
            affine_probability=1,
            rotation=0,
            scale=(1, 1),
            stretch=0,
            noise_probability=1,
            noise=(0, 0),
            brightness_probability=1,
            brightness=(1, 1),
            contrast_probability=1,
            contrast=(1, 1),
            gamma_probability=1,
            gamma=(1, 1),
        ),
        # The transforms are compiled, but practically never drawn.
        dataclasses.replace(
            EVERYTHING,
            flip=(1e-30,) * 3,
            **{f.name: 1e-30 for f in dataclasses.fields(OFF) if "_prob" in f.name},
        ),
    ],
    ids=["off", "zero strength", "not drawn"],
)
def test_nothing_to_do_returns_the_input_bit_for_bit(what):
    image, label = head()
    new_image, new_label = run(image, label, what, seed=3)
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_label, label)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flips_are_exact(axis):
    image, label = head()
    new_image, new_label = run(image, label, only(flip=[float(a == axis) for a in range(3)]))
    np.testing.assert_array_equal(new_image, np.flip(image, axis + 1))
    np.testing.assert_array_equal(new_label, np.flip(label, axis + 1))


def test_each_sample_is_flipped_on_its_own():
    image, label = (np.repeat(a, 32, axis=0) for a in head(1, (3, 4, 5)))
    new_image, _ = run(image, label, only(flip=(0.5, 0.5, 0.5)))
    assert len({sample.tobytes() for sample in new_image}) == 8


@given(
    st.integers(0, 2**31 - 1),
    st.lists(st.integers(0, 100), min_size=1, max_size=4, unique=True),
)
@settings(max_examples=25)
def test_labels_are_never_mixed(seed, values):
    image, label = head()
    label = np.random.default_rng(seed).choice(np.array(values, np.int32), label.shape)
    new_image, new_label = run(image, label, EVERYTHING, seed)
    assert set(np.unique(new_label)) <= {0, *values}
    assert new_label.dtype == np.int32 and new_label.shape == label.shape
    assert new_image.dtype == np.float32 and new_image.shape == image.shape
    assert np.isfinite(new_image).all()


def test_image_and_label_move_together():
    label = np.zeros((4, 24, 24, 24), np.int32)
    label[:, 4:15, 3:19, 8:21] = 1
    image = label[..., None].astype(np.float32)
    new_image, new_label = run(
        image, label, only(affine_probability=1, flip=(0.5, 0.5, 0.5)), seed=5
    )
    assert not np.array_equal(new_label, label)
    same = (new_image[..., 0] == 0) | (new_image[..., 0] == 1)  # eight equal corners
    np.testing.assert_array_equal(new_image[same][:, 0], new_label[same])
    assert same.mean() > 0.7 and new_label[same].any()
    # Elsewhere the two can differ by rounding at most: a voxel's own share is an eighth or more.
    assert (new_image[new_label == 1] >= 0.124).all()


@pytest.mark.parametrize("name", ["noise", "brightness", "contrast", "gamma"])
def test_background_stays_exactly_zero_and_the_body_changes(name):
    image, label = head()
    what = only(**{f"{name}_probability": 1.0})
    new_image, new_label = run(image, label, what)
    np.testing.assert_array_equal(new_image[image == 0], 0)
    assert (new_image != image)[image != 0].mean() > 0.9
    np.testing.assert_array_equal(new_label, label)


@pytest.mark.parametrize("fill", [0.0, 2.5, -1.5])
def test_constant_and_empty_channels_stay_finite(fill):
    image, label = head()
    image[0, ..., 1] = fill
    new_image, _ = run(image, label, only(gamma_probability=1, contrast_probability=1))
    assert np.isfinite(new_image).all()
    np.testing.assert_allclose(new_image[0, ..., 1], fill, atol=1e-5)


def test_noise_has_the_standard_deviation_asked_for():
    image, label = head(2, (20, 20, 20))
    new_image, _ = run(image, label, only(noise_probability=1, noise=(0.3, 0.3)))
    change = (new_image - image)[image != 0]
    assert abs(change.std() - 0.3) < 0.01 and abs(change.mean()) < 0.01


def test_brightness_is_one_factor_a_channel():
    image, label = head()
    new_image, _ = run(image, label, only(brightness_probability=1, brightness=(0.5, 2.0)))
    factor = (new_image / np.where(image == 0, 1, image))[:, 2:]
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1, :1], factor.shape), 1e-5)
    factors = factor[:, 0, 0, 0].ravel()
    assert len(np.unique(factors.round(4))) == 4
    assert ((factors >= 0.5) & (factors <= 2.0)).all()


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_contrast_scales_about_the_mean_of_the_body(factor):
    image, label = head()
    what = only(contrast_probability=1, contrast=(factor, factor))
    new_image, _ = run(image, label, what)
    for new, old in zip(new_image, image, strict=True):
        for c in range(old.shape[-1]):
            body = old[..., c][old[..., c] != 0]
            expected = np.clip((body - body.mean()) * factor + body.mean(), body.min(), body.max())
            np.testing.assert_allclose(new[..., c][old[..., c] != 0], expected, atol=1e-5)


@pytest.mark.parametrize("exponent", [0.5, 1.8])
def test_gamma_bends_negative_values_safely_and_keeps_mean_and_deviation(exponent):
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


def test_the_key_decides():
    image, label = head()
    first = run(image, label, EVERYTHING, seed=1)
    np.testing.assert_array_equal(run(image, label, EVERYTHING, seed=1)[0], first[0])
    assert not np.array_equal(run(image, label, EVERYTHING, seed=2)[0], first[0])


def test_equal_samples_become_different_ones():
    image, label = (np.repeat(a, 2, axis=0) for a in head(1))
    new_image, new_label = run(image, label, EVERYTHING)
    assert not np.array_equal(*new_image)
    assert not np.array_equal(*new_label)


def test_probabilities_are_kept():
    image, label = head(400, (3, 2, 2), 1)
    new_image, _ = run(image, label, only(brightness_probability=0.3))
    changed = (new_image != image).any(axis=(1, 2, 3, 4)).mean()
    assert 0.2 < changed < 0.4


def test_a_sharded_batch_needs_no_communication():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    image, label = head(2)
    arrays = jax.device_put(image, split), jax.device_put(label, split)
    key = jax.device_put(jax.random.key(7), NamedSharding(mesh, PartitionSpec()))
    program = compiled.lower(key, *arrays, settings=EVERYTHING).compile()
    instructions = program.as_text() or ""
    assert "fusion" in instructions
    for collective in ["all-gather", "all-reduce", "all-to-all", "collective-permute"]:
        assert collective not in instructions
    new_image, new_label = program(key, *arrays)
    assert new_image.sharding.is_equivalent_to(split, new_image.ndim)
    expected_image, expected_label = run(image, label, EVERYTHING, seed=7)
    np.testing.assert_allclose(new_image, expected_image, atol=1e-4)
    assert (np.asarray(new_label) != expected_label).mean() < 1e-3


def test_settings_take_lists_and_are_hashable():
    settings = Augmentation(flip=[1, 0, 0], scale=[0.9, 1.1])  # pyright: ignore
    assert settings == Augmentation(flip=(1.0, 0.0, 0.0), scale=(0.9, 1.1))
    assert hash(settings) == hash(Augmentation(flip=(1.0, 0.0, 0.0), scale=(0.9, 1.1)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": (0.5, 0.5)},
        {"flip": (0.5, 0.5, 1.5)},
        {"flip": 0.5},
        {"affine_probability": -0.1},
        {"gamma_probability": float("nan")},
        {"noise_probability": None},
        {"rotation": -5.0},
        {"rotation": "much"},
        {"scale": (1.2, 0.8)},
        {"scale": (0.0, 1.0)},
        {"gamma": (0.5, float("inf"))},
        {"noise": (-1.0, 0.1)},
        {"spacing": (1.0, 0.0, 1.0)},
    ],
)
def test_impossible_settings_are_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=f"^augmentation.{name} = .*give"):
        Augmentation(**wrong)


def test_arrays_that_do_not_belong_together_are_refused():
    image, label = head()
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="label"):
        augment(key, jnp.asarray(image), jnp.asarray(label[:, :-1]), settings=OFF)
    with pytest.raises(ValueError, match="int32"):
        augment(key, jnp.asarray(image), jnp.asarray(label, jnp.uint8), settings=OFF)
