from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.experiment import Augmentation, BranchSettings, LossSettings, OptimiserSettings
from invseg_jax.models import FullInvResSettings, build
from invseg_jax.runs.train_state import TrainState
from invseg_jax.segmentation.objective import SegmentationObjective
from invseg_jax.training.losses import deeply_supervised
from invseg_jax.training.optimiser import first_state, make_optimiser
from invseg_jax.training.step import make_step


def start(
    model: nnx.Module,
    optimiser: optax.GradientTransformation,
    augmentation: Augmentation | None = None,
    average: float = 0.9,
    loss: LossSettings | None = None,
    accumulate: int = 1,
) -> tuple[Any, TrainState]:
    graph, params = nnx.split(model)
    objective = SegmentationObjective(
        graph,
        augmentation or Augmentation.off(),
        loss or LossSettings(),
        BranchSettings(),
        regions=None,
        batch={},
    )
    step = make_step(objective.loss, optimiser, average=average, accumulate=accumulate)
    return jax.jit(step), first_state(params, optimiser, seed=3)


def leaves(tree: Any) -> dict[str, np.ndarray]:
    """Every array by its name, a random key as its bits."""
    named = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        named[jax.tree_util.keystr(path)] = np.asarray(leaf)
    return named


@pytest.fixture(scope="module")
def full_invres() -> tuple[Any, TrainState]:
    settings = FullInvResSettings(channels=(4, 8), couplings=1, groups=2, auxiliary=1)
    model = build("FullInvRes", 1, 3, settings, seed=0)
    optimiser = make_optimiser(OptimiserSettings(learning_rate=5e-2, warmup=0), 30)
    return start(model, optimiser)


@pytest.fixture(scope="module")
def descent(pointwise) -> tuple[Any, TrainState]:
    """Plain gradient descent with a step of 0.5, no augmentation."""
    return start(pointwise(), optax.sgd(0.5), average=0.5)


def test_the_loss_falls(full_invres, batch):
    step, state = full_invres
    key = np.asarray(jax.random.key_data(state.key))
    history = []
    for _ in range(30):
        state, metrics = step(state, batch)
        history.append({name: float(value) for name, value in metrics.items()})
    assert all(np.isfinite(list(row.values())).all() for row in history)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert history[-1]["dice"] > history[0]["dice"] + 0.1
    assert state.step == 30
    np.testing.assert_array_equal(jax.random.key_data(state.key), key)


def test_the_same_state_and_batch_give_the_same_bits(full_invres, batch):
    step, state = full_invres
    once, again = leaves(step(state, batch)), leaves(step(state, batch))
    assert len(once) > 60
    for name, value in once.items():
        assert value.tobytes() == again[name].tobytes(), name


def test_every_parameter_is_moved(full_invres, batch):
    step, state = full_invres
    before, after = leaves(state.params), leaves(step(state, batch)[0].params)
    still = [name for name in before if np.array_equal(before[name], after[name])]
    assert still == []


def test_metrics_are_those_of_the_parameters_before_the_step(descent, pointwise, batch):
    step, state = descent
    after, metrics = step(state, batch)
    graph, params = nnx.split(pointwise())

    def loss_of(params):
        outputs = nnx.merge(graph, params).outputs(jnp.asarray(batch["image"]), None)
        return deeply_supervised(outputs, jnp.asarray(batch["label"]))

    (loss, dice), gradient = jax.value_and_grad(loss_of, has_aux=True)(params)
    assert metrics.keys() == {"loss", "dice", "gradient_norm"}
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["dice"], np.mean(dice), rtol=1e-5)
    flat = np.concatenate([g.ravel() for g in leaves(gradient).values()])
    np.testing.assert_allclose(metrics["gradient_norm"], np.linalg.norm(flat), rtol=1e-5)
    moved = [
        (a - b).ravel()
        for a, b in zip(leaves(after.params).values(), leaves(params).values(), strict=True)
    ]
    np.testing.assert_allclose(np.concatenate(moved), -0.5 * flat, rtol=1e-4, atol=1e-7)


def test_averaged_parameters_follow(descent, batch):
    step, state = descent
    expected = leaves(state.averaged)
    for taken in range(12):
        state, _ = step(state, batch)
        # (1 + t) / (10 + t) rises to the limit of 0.5 at t = 8.
        decay = min(0.5, (1 + taken) / (10 + taken))
        for name, value in leaves(state.params).items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in leaves(state.averaged).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-7)
        assert not np.array_equal(value, leaves(state.params)[name])


def test_randomness_is_drawn_anew_at_each_step(pointwise, batch):
    step, state = start(pointwise(noise=1.0), optax.sgd(0.0))
    losses = []
    for _ in range(3):
        again = float(step(state, batch)[1]["loss"])
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
        assert losses[-1] == again
    # The parameters stand still: only the noise differs.
    assert len(set(losses)) == 3


@pytest.mark.parametrize("parts", [2, 4])
def test_the_parts_of_a_batch_give_the_gradient_of_the_whole(pointwise, parts: int):
    """For a loss that is a mean over samples."""
    rng = np.random.default_rng(1)
    label = rng.integers(0, 3, (8, 4, 4, 4)).astype(np.int32)
    image = (label - 1.0)[..., None] + rng.normal(0, 0.3, (*label.shape, 1))
    batch = {"image": image.astype(np.float32), "label": label}
    loss = LossSettings(per_sample=True)
    results = []
    for count in (parts, 1):
        step, state = start(pointwise(), optax.sgd(0.5), loss=loss, accumulate=count)
        results.append(step(state, batch))
    found, expected = results
    before = leaves(state.params)
    assert found[1].keys() == expected[1].keys()
    for name, value in leaves(found[0].params).items():
        wanted = leaves(expected[0].params)[name]
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-7)
        assert not np.array_equal(wanted, before[name])
    for name, value in found[1].items():
        np.testing.assert_allclose(value, expected[1][name], rtol=1e-5)
    assert found[0].step == 1


def test_a_batch_that_nobody_labelled_has_no_dice(descent, batch):
    step, state = descent
    unlabelled = batch | {"label": np.full_like(batch["label"], IGNORED)}
    metrics = step(state, unlabelled)[1]
    assert np.isnan(metrics["dice"])
    assert metrics["loss"] == 0.0 and metrics["gradient_norm"] == 0.0


def test_the_dice_is_that_of_the_parts_that_have_one(pointwise, batch):
    twice, state = start(pointwise(), optax.sgd(0.5), accumulate=2)
    step, _ = start(pointwise(), optax.sgd(0.5))
    # The parts are the samples; nobody labelled the second.
    label = batch["label"].copy()
    label[1] = IGNORED
    found = twice(state, batch | {"label": label})[1]
    each = [
        step(state, {"image": batch["image"][i : i + 1], "label": label[i : i + 1]})[1]
        for i in range(2)
    ]
    np.testing.assert_allclose(found["dice"], each[0]["dice"], rtol=1e-6)
    assert np.isnan(each[1]["dice"])
    assert each[0]["loss"] > 0
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(found[name], each[0][name] / 2, rtol=1e-5)
    label[0] = IGNORED
    assert np.isnan(twice(state, batch | {"label": label})[1]["dice"])


def test_each_part_of_a_batch_has_randomness_of_its_own(pointwise, batch):
    step, state = start(pointwise(noise=1.0), optax.sgd(0.0), accumulate=2)
    twice = {name: np.stack([array[0]] * 2) for name, array in batch.items()}

    @jax.jit
    def loss_of(part):
        noise = jax.random.split(jax.random.fold_in(jax.random.fold_in(state.key, 0), part))[1]
        network = nnx.merge(nnx.graphdef(pointwise(noise=1.0)), state.params)
        outputs = network.outputs(jnp.asarray(twice["image"][:1]), noise)
        return deeply_supervised(outputs, jnp.asarray(twice["label"][:1]))[0]

    losses = [float(loss_of(part)) for part in range(2)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(step(state, twice)[1]["loss"], np.mean(losses), rtol=1e-5)


def test_the_batch_is_augmented(descent, pointwise, batch):
    twice_as_bright = Augmentation(
        flip=(0.0, 0.0, 0.0),
        affine_probability=0,
        noise_probability=0,
        brightness_probability=1.0,
        brightness=(2.0, 2.0),
        contrast_probability=0,
        gamma_probability=0,
    )
    step, state = start(pointwise(), optax.sgd(0.5), twice_as_bright)
    plain, _ = descent
    augmented = step(state, batch)[1]
    expected = plain(state, batch | {"image": 2 * batch["image"]})[1]
    np.testing.assert_allclose(augmented["loss"], expected["loss"], rtol=1e-6)
    assert abs(float(augmented["loss"] - plain(state, batch)[1]["loss"])) > 1e-2
