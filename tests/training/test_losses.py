from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.models import Outputs
from invseg_jax.training.losses import deeply_supervised, dice_cross_entropy, soft_dice

CLASSES = 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def reference(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Cross-entropy plus one minus mean soft Dice, written out in float64."""
    logits = logits.astype(np.float64).reshape(-1, logits.shape[-1])
    labels = labels.ravel()
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    cross_entropy = -np.log(p[np.arange(len(labels)), labels]).mean()
    dice = []
    for k in range(1, logits.shape[1]):
        truth = labels == k
        dice.append((2 * p[truth, k].sum() + 1) / (p[:, k].sum() + truth.sum() + 1))
    return cross_entropy + 1 - np.mean(dice), np.array(dice)


def random_example(
    rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    logits = rng.normal(0, 2, (*shape, CLASSES)).astype(np.float32)
    return logits, rng.integers(0, CLASSES, shape).astype(np.int32)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[labels]


@pytest.mark.parametrize("smoothing", [0.0, 1.0, 5.0])
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
    loss, dice = dice_cross_entropy(jnp.asarray(logits), jnp.asarray(labels))
    expected, expected_dice = reference(logits, labels)
    assert dice.shape == (CLASSES - 1,)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(dice, expected_dice, rtol=1e-5)


def test_voxels_that_nobody_labelled_count_nowhere(rng):
    logits, labels = random_example(rng, (2, 3, 4, 5))
    unknown = rng.random(labels.shape) < 0.4
    ignoring = jnp.asarray(np.where(unknown, IGNORED, labels))
    loss_and_gradient = jax.value_and_grad(lambda x: dice_cross_entropy(x, ignoring)[0])
    loss, gradient = loss_and_gradient(jnp.asarray(logits))
    np.testing.assert_allclose(loss, reference(logits[~unknown], labels[~unknown])[0], rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(gradient)[unknown], 0.0)
    assert (np.asarray(gradient)[~unknown] != 0.0).all()

    loss, gradient = jax.value_and_grad(
        lambda x: dice_cross_entropy(x, jnp.full(labels.shape, IGNORED))[0]
    )(jnp.asarray(logits))
    assert loss == 0.0 and not gradient.any()


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much(rng):
    labels = rng.integers(0, CLASSES, (1, 4, 4, 4)).astype(np.int32)
    right, dice = dice_cross_entropy(jnp.asarray(30 * one_hot(labels)), jnp.asarray(labels))
    assert 0 <= right < 1e-5
    np.testing.assert_allclose(dice, 1.0, atol=1e-5)
    wrong, dice = dice_cross_entropy(jnp.asarray(30 * one_hot((labels + 1) % 3)), labels)
    assert 30 < wrong < 32
    assert dice.max() < 0.05


def test_a_class_that_is_absent(rng):
    labels = rng.integers(0, 2, (1, 4, 4, 4)).astype(np.int32)
    _, dice = dice_cross_entropy(jnp.asarray(50 * one_hot(labels)), jnp.asarray(labels))
    np.testing.assert_allclose(dice, [1, 1], atol=1e-5)
    # Four voxels of it are predicted all the same: (0 + 1) / (4 + 0 + 1).
    predicted = labels.copy()
    predicted.ravel()[:4] = 2
    _, dice = dice_cross_entropy(jnp.asarray(50 * one_hot(predicted)), jnp.asarray(labels))
    np.testing.assert_allclose(dice[1], 1 / 5, rtol=1e-5)


def test_nothing_but_background():
    labels = np.zeros((1, 2, 2, 2), np.int32)
    loss, _ = dice_cross_entropy(jnp.asarray(20 * one_hot(labels)), jnp.asarray(labels))
    assert 0 <= loss < 1e-5


def test_huge_logits_stay_finite(rng):
    logits, labels = random_example(rng, (1, 3, 3, 3))
    loss_of = jax.value_and_grad(lambda x: dice_cross_entropy(x, jnp.asarray(labels))[0])
    loss, gradient = loss_of(jnp.asarray(1e4 * logits))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


def test_the_gradient_against_finite_differences(rng):
    logits, labels = random_example(rng, (2, 2, 3, 2))
    found = jax.grad(lambda x: dice_cross_entropy(x, jnp.asarray(labels))[0])(jnp.asarray(logits))
    step = 1e-5
    expected = np.empty(logits.shape)
    for index in np.ndindex(logits.shape):
        up, down = logits.astype(np.float64), logits.astype(np.float64)
        up[index] += step
        down[index] -= step
        expected[index] = (reference(up, labels)[0] - reference(down, labels)[0]) / (2 * step)
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-4)


def odd_outputs(rng: np.random.Generator) -> tuple[Outputs, np.ndarray]:
    """Two auxiliary levels of an odd size: each has the voxels 0, 2, 4 ... of the one above."""
    logits, labels = random_example(rng, (2, 5, 7, 6))
    half, _ = random_example(rng, (2, 3, 4, 3))
    quarter, _ = random_example(rng, (2, 2, 2, 2))
    return Outputs(jnp.asarray(logits), (jnp.asarray(half), jnp.asarray(quarter))), labels


def test_deep_supervision_weighs_strided_labels(rng):
    outputs, labels = odd_outputs(rng)
    expected, expected_dice = reference(np.asarray(outputs.logits), labels)
    for weight, every, logits in zip((1 / 2, 1 / 4), (2, 4), outputs.auxiliary, strict=True):
        strided = labels[:, ::every, ::every, ::every]
        assert strided.shape == logits.shape[:4]
        expected += weight * reference(np.asarray(logits), strided)[0]
    loss, dice = deeply_supervised(outputs, jnp.asarray(labels))
    np.testing.assert_allclose(loss, expected / (1 + 1 / 2 + 1 / 4), rtol=1e-5)
    np.testing.assert_allclose(dice, expected_dice, rtol=1e-5)


def test_without_auxiliary_outputs_it_is_the_plain_loss(rng):
    logits, labels = map(jnp.asarray, random_example(rng, (1, 3, 4, 3)))
    deep: Any = deeply_supervised(Outputs(logits), labels)
    plain: Any = dice_cross_entropy(logits, labels)
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
