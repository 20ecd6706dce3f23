from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.data.batches.regions import Regions
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.experiment import LossSettings
from invseg_jax.models import Outputs
from invseg_jax.training.losses import deeply_supervised, segmentation_loss, soft_dice

CLASSES = 3
DEFAULT = LossSettings()
# Two regions of the classes 1 and 2, one within the other, and one apart.
REGIONS = Regions(("whole", "core", "other"), ((1, 2), (2,), (1,)), (1, 2, 1))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def reference(
    logits: np.ndarray,
    labels: np.ndarray,
    settings: LossSettings = DEFAULT,
    regions: Regions | None = None,
) -> tuple[float, np.ndarray]:
    """The loss and the Dice written out in float64, one output and one sample after the other."""
    x = logits.astype(np.float64)
    outputs = range(x.shape[-1])
    known = labels != IGNORED
    if regions is None:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        p = e / e.sum(axis=-1, keepdims=True)
        truth = [labels == k for k in outputs]
        surprise = [-np.log(p[..., k]) * truth[k] for k in outputs]
        counted = truth
    else:
        p = 1 / (1 + np.exp(-x))
        truth = [np.isin(labels, members) for members in regions.members]
        surprise = [-np.log(np.where(t, p[..., k], 1 - p[..., k])) for k, t in enumerate(truth)]
        counted = [known] * len(truth)
    weights = settings.weights or (1.0,) * x.shape[-1]
    total = sum(w * c.sum() for w, c in zip(weights, counted, strict=True))
    cross_entropy = sum(w * s[known].sum() for w, s in zip(weights, surprise, strict=True)) / total

    def ratio(k: int, sample: slice) -> float:
        inside = known[sample]
        q, t = p[sample, ..., k][inside], truth[k][sample][inside].astype(float)
        overlap, power = (q * t).sum(), 2 if settings.squared else 1
        below = (q**power).sum() + (t**power).sum()
        return (2 * overlap + settings.smoothing) / (below + settings.smoothing)

    samples = [slice(i, i + 1) for i in range(len(x))] if settings.per_sample else [slice(None)]
    dice = np.array([np.mean([ratio(k, s) for s in samples]) for k in outputs])
    foreground = dice if regions is not None else dice[1:]
    mean = dice.mean() if settings.background else foreground.mean()
    return settings.cross_entropy * cross_entropy + settings.dice * (1 - mean), foreground


def numeric_gradient(value: Any, x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a function of an array, in float64."""
    result = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[index] += step
        down[index] -= step
        result[index] = (value(up) - value(down)) / (2 * step)
    return result


def random_example(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    logits = rng.normal(0, 2, (*shape, CLASSES)).astype(np.float32)
    return logits, rng.integers(0, CLASSES, shape).astype(np.int32)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[labels]


@pytest.mark.parametrize("smoothing", [1e-5, 1.0, 5.0])
def test_soft_dice_is_summed_over_batch_and_space(rng, smoothing: float):
    p = rng.dirichlet(np.ones(CLASSES), (2, 3, 4, 5)).astype(np.float32)
    t = one_hot(rng.integers(0, CLASSES, (2, 3, 4, 5)))
    expected = [
        (2 * (p[..., k] * t[..., k]).sum() + smoothing)
        / (p[..., k].sum() + t[..., k].sum() + smoothing)
        for k in range(CLASSES)
    ]
    found = soft_dice(jnp.asarray(p), jnp.asarray(t), smoothing=smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_loss_is_cross_entropy_plus_dice(rng):
    logits, labels = random_example(rng, (2, 3, 4, 5))
    loss, dice = segmentation_loss(jnp.asarray(logits), jnp.asarray(labels))
    expected, expected_dice = reference(logits, labels)
    assert dice.shape == (CLASSES - 1,)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(dice, expected_dice, rtol=1e-5)


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much(rng):
    labels = rng.integers(0, CLASSES, (1, 4, 4, 4)).astype(np.int32)
    right, dice = segmentation_loss(jnp.asarray(30 * one_hot(labels)), jnp.asarray(labels))
    assert 0 <= right < 1e-5
    np.testing.assert_allclose(dice, 1.0, atol=1e-5)
    wrong, dice = segmentation_loss(jnp.asarray(30 * one_hot((labels + 1) % 3)), labels)
    assert 30 < wrong < 32
    assert dice.max() < 0.05


def test_a_class_that_is_absent(rng):
    labels = rng.integers(0, 2, (1, 4, 4, 4)).astype(np.int32)
    _, dice = segmentation_loss(jnp.asarray(50 * one_hot(labels)), jnp.asarray(labels))
    np.testing.assert_allclose(dice, [1, 1], atol=1e-5)
    # Four voxels of it are predicted all the same: (0 + 1) / (4 + 0 + 1).
    predicted = labels.copy()
    predicted.ravel()[:4] = 2
    _, dice = segmentation_loss(jnp.asarray(50 * one_hot(predicted)), jnp.asarray(labels))
    np.testing.assert_allclose(dice[1], 1 / 5, rtol=1e-5)


def test_nothing_but_background():
    labels = np.zeros((1, 2, 2, 2), np.int32)
    loss, _ = segmentation_loss(jnp.asarray(20 * one_hot(labels)), jnp.asarray(labels))
    assert 0 <= loss < 1e-5


def test_huge_logits_stay_finite(rng):
    logits, labels = random_example(rng, (1, 3, 3, 3))
    loss_of = jax.value_and_grad(lambda x: segmentation_loss(x, jnp.asarray(labels))[0])
    loss, gradient = loss_of(jnp.asarray(1e4 * logits))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


ALL_SETTINGS = [
    DEFAULT,
    LossSettings(squared=True),
    LossSettings(per_sample=True),
    LossSettings(background=True, smoothing=1e-5),
    LossSettings(weights=(0.2, 3.0, 1.5)),
    LossSettings(weights=(0, 1, 2), squared=True, per_sample=True, dice=0.3, cross_entropy=2.0),
    LossSettings(cross_entropy=0.0, squared=True),
    LossSettings(dice=0.0),
]


@pytest.mark.parametrize("regions", [None, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("settings", ALL_SETTINGS, ids=str)
def test_value_and_gradient_against_the_reference(rng, settings: LossSettings, regions):
    logits, labels = random_example(rng, (2, 2, 3, 2))
    labels[rng.random(labels.shape) < 0.2] = IGNORED
    (loss, dice), found = jax.value_and_grad(
        lambda x: segmentation_loss(x, jnp.asarray(labels), settings, regions), has_aux=True
    )(jnp.asarray(logits))
    expected, expected_dice = reference(logits, labels, settings, regions)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(dice, expected_dice, rtol=1e-5)
    numeric = numeric_gradient(lambda x: reference(x, labels, settings, regions)[0], logits)
    assert np.abs(numeric).max() > 1e-3
    np.testing.assert_allclose(found, numeric, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("regions", [None, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("settings", ALL_SETTINGS[:5], ids=str)
def test_what_nobody_labelled_might_as_well_not_be_there(rng, settings, regions):
    logits, labels = random_example(rng, (2, 3, 4, 5))
    labels[:, :, :2] = IGNORED

    def loss(logits, labels):
        return segmentation_loss(jnp.asarray(logits), jnp.asarray(labels), settings, regions)[0]

    other = logits.copy()
    other[:, :, :2] = rng.normal(0, 9, other[:, :, :2].shape)
    np.testing.assert_array_equal(loss(logits, labels), loss(other, labels))
    np.testing.assert_allclose(
        loss(logits, labels), loss(logits[:, :, 2:], labels[:, :, 2:]), rtol=1e-6
    )
    value, gradient = jax.value_and_grad(loss)(
        jnp.asarray(logits), np.full(labels.shape, IGNORED, np.int32)
    )
    assert value == 0.0 and not np.any(gradient)


@pytest.mark.parametrize("regions", [None, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_what_nobody_labelled_has_no_dice(rng, regions, per_sample: bool):
    settings = replace(DEFAULT, per_sample=per_sample)
    logits, labels = random_example(rng, (3, 3, 4, 5))

    def loss_and_dice(labels):
        outputs = Outputs(jnp.asarray(logits), (jnp.asarray(logits[:, ::2, ::2, ::2]),))
        return deeply_supervised(outputs, jnp.asarray(labels), settings, regions)

    nothing = np.full_like(labels, IGNORED)
    loss, dice = loss_and_dice(nothing)
    assert loss == 0.0 and dice.shape == ((3,) if regions else (CLASSES - 1,))
    assert np.isnan(dice).all()
    # One voxel of the background is enough.
    nothing[1, 0, 0, 0] = 0
    loss, dice = loss_and_dice(nothing)
    assert np.isfinite(dice).all()
    np.testing.assert_allclose(
        dice, reference(logits[1:2], nothing[1:2], settings, regions)[1], rtol=1e-5
    )
    # Of samples one by one, those count that have a labelled voxel; the loss has all of them.
    labels[0] = IGNORED
    loss, dice = loss_and_dice(labels)
    np.testing.assert_allclose(dice, reference(logits[1:], labels[1:], settings, regions)[1], 1e-5)
    first, second = (
        reference(x, y, settings, regions)[0]
        for x, y in ((logits, labels), (logits[:, ::2, ::2, ::2], labels[:, ::2, ::2, ::2]))
    )
    np.testing.assert_allclose(loss, (first + second / 2) / 1.5, rtol=1e-5)


def test_weights_are_relative(rng):
    logits, labels = map(jnp.asarray, random_example(rng, (2, 3, 4, 5)))
    for regions in (None, REGIONS):
        once, thrice, equal, none = (
            segmentation_loss(logits, labels, LossSettings(weights=weights), regions)[0]
            for weights in ((0.1, 0.2, 0.4), (0.3, 0.6, 1.2), (7, 7, 7), ())
        )
        np.testing.assert_allclose(once, thrice, rtol=1e-6)
        np.testing.assert_allclose(equal, none, rtol=1e-6)
        assert abs(float(once - none)) > 1e-2


def test_of_one_sample_both_kinds_of_dice_are_the_same_and_of_two_they_differ(rng):
    logits, labels = random_example(rng, (2, 3, 4, 5))
    labels[1] = 0  # nothing to be found
    each = replace(DEFAULT, per_sample=True)

    def dice(part: slice, settings: LossSettings) -> np.ndarray:
        args = jnp.asarray(logits[part]), jnp.asarray(labels[part])
        return np.asarray(segmentation_loss(*args, settings)[1])

    first, second = slice(0, 1), slice(1, 2)
    np.testing.assert_allclose(dice(first, each), dice(first, DEFAULT), rtol=1e-6)
    apart = (dice(first, DEFAULT) + dice(second, DEFAULT)) / 2
    np.testing.assert_allclose(dice(slice(None), each), apart, rtol=1e-6)
    assert np.abs(dice(slice(None), DEFAULT) - apart).min() > 0.02


@pytest.mark.parametrize("squared", [False, True])
def test_the_rule_for_a_region_that_is_absent(squared: bool):
    settings = replace(DEFAULT, squared=squared)
    labels = np.zeros((1, 4, 4, 4), np.int32)
    labels[0, 0] = 1  # no core
    surely = np.where(labels[..., None] == 1, (50.0, -50.0, 50.0), -50.0).astype(np.float32)
    loss, dice = segmentation_loss(jnp.asarray(surely), jnp.asarray(labels), settings, REGIONS)
    np.testing.assert_allclose(dice, 1, atol=1e-5)
    assert 0 <= loss < 1e-5
    # Four voxels of it are predicted all the same: (0 + 1) / (4 + 0 + 1).
    surely[0, 0, 0, :, 1] = 50.0
    _, dice = segmentation_loss(jnp.asarray(surely), jnp.asarray(labels), settings, REGIONS)
    np.testing.assert_allclose(dice, [1, 1 / 5, 1], rtol=1e-5)


def test_huge_logits_of_regions_stay_finite(rng):
    logits, labels = random_example(rng, (1, 3, 3, 3))
    loss, gradient = jax.value_and_grad(
        lambda x: segmentation_loss(x, jnp.asarray(labels), DEFAULT, REGIONS)[0]
    )(jnp.asarray(1e4 * logits))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


def odd_outputs(rng: np.random.Generator) -> tuple[Outputs, np.ndarray]:
    """Two auxiliary levels of an odd size: each has the voxels 0, 2, 4 ... of the one above."""
    logits, labels = random_example(rng, (2, 5, 7, 6))
    half, _ = random_example(rng, (2, 3, 4, 3))
    quarter, _ = random_example(rng, (2, 2, 2, 2))
    return Outputs(jnp.asarray(logits), (jnp.asarray(half), jnp.asarray(quarter))), labels


@pytest.mark.parametrize("regions", [None, REGIONS], ids=["classes", "regions"])
def test_deep_supervision_weighs_strided_labels(rng, regions):
    outputs, labels = odd_outputs(rng)
    settings = LossSettings(squared=True, weights=(1, 2, 3))
    expected, expected_dice = reference(np.asarray(outputs.logits), labels, settings, regions)
    for weight, every, logits in zip((1 / 2, 1 / 4), (2, 4), outputs.auxiliary, strict=True):
        strided = labels[:, ::every, ::every, ::every]
        assert strided.shape == logits.shape[:4]
        expected += weight * reference(np.asarray(logits), strided, settings, regions)[0]
    loss, dice = deeply_supervised(outputs, jnp.asarray(labels), settings, regions)
    np.testing.assert_allclose(loss, expected / (1 + 1 / 2 + 1 / 4), rtol=1e-5)
    np.testing.assert_allclose(dice, expected_dice, rtol=1e-5)


def test_without_auxiliary_outputs_it_is_the_plain_loss(rng):
    logits, labels = map(jnp.asarray, random_example(rng, (1, 3, 4, 3)))
    deep: Any = deeply_supervised(Outputs(logits), labels)
    plain: Any = segmentation_loss(logits, labels)
    np.testing.assert_array_equal(deep[0], plain[0])
    np.testing.assert_array_equal(deep[1], plain[1])


def test_only_the_loss_has_a_gradient(rng):
    outputs, labels = odd_outputs(rng)

    def loss(outputs: Outputs) -> jax.Array:
        return deeply_supervised(outputs, jnp.asarray(labels))[0]

    def dice(outputs: Outputs) -> jax.Array:
        return jnp.sum(deeply_supervised(outputs, jnp.asarray(labels))[1])

    assert all(np.any(np.asarray(g)) for g in jax.tree.leaves(jax.grad(loss)(outputs)))
    assert not any(np.any(np.asarray(g)) for g in jax.tree.leaves(jax.grad(dice)(outputs)))
