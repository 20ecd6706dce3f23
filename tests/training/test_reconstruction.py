from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from invseg_jax.data.augment import Augmentation
from invseg_jax.errors import UserError
from invseg_jax.models import VAEOutputs, VAESettings, build
from invseg_jax.training.reconstruction import (
    ReconstructionWeights,
    kl_divergence,
    mean_squared_error,
    with_reconstruction,
)
from invseg_jax.training.state import first_state
from invseg_jax.training.step import make_step

SIZE = (8, 8, 8)


@pytest.mark.parametrize(("n", "latent"), [(1, 1), (3, 7)])
def test_the_divergence_is_the_formula(n, latent):
    mean, log_variance = np.random.default_rng(n).normal(size=(2, n, latent))
    total = 0.0
    for mu, s in zip(mean.ravel(), np.exp(log_variance.ravel() / 2), strict=True):
        total += mu**2 + s**2 - np.log(s**2) - 1
    found = kl_divergence(jnp.asarray(mean, "f4"), jnp.asarray(log_variance, "f4"), voxels=50)
    np.testing.assert_allclose(found, total / n / 50, rtol=1e-5)


def test_the_divergence_from_itself_is_zero():
    nothing = jnp.zeros((2, 5))
    assert kl_divergence(nothing, nothing, voxels=8) == 0
    gradient = jax.grad(kl_divergence, argnums=(0, 1))(nothing, nothing, 8)
    assert not any(np.any(g) for g in gradient)


def test_the_terms_are_added_with_their_weights():
    rng = np.random.default_rng(0)
    image, other = (jnp.asarray(rng.normal(size=(2, 3, 4, 5, 2)), jnp.float32) for _ in range(2))
    vae = VAEOutputs(other, jnp.ones((2, 4)), jnp.zeros((2, 4)))
    loss, terms = with_reconstruction(jnp.asarray(3.0), vae, image, ReconstructionWeights(0.5, 10))
    error = np.square(np.asarray(image, np.float64) - np.asarray(other, np.float64)).mean()
    np.testing.assert_allclose(terms["reconstruction"], error, rtol=1e-5)
    np.testing.assert_allclose(terms["kl"], 4 / 60, rtol=1e-5)
    np.testing.assert_allclose(loss, 3 + 0.5 * error + 10 * 4 / 60, rtol=1e-5)
    assert with_reconstruction(jnp.asarray(3.0), None, image, ReconstructionWeights()) == (3.0, {})


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_weights_out_of_range_are_refused(value):
    with pytest.raises(UserError, match=r"^config.vae.kl is .*; give a number of at least 0$"):
        ReconstructionWeights(kl=value)


def bright_balls(seed: int, count: int = 2) -> dict[str, jax.Array]:
    """Balls of several places and sizes; a voxel's class is whether it lies in one."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, SIZE), indexing="ij"), axis=-1)
    inside = [
        np.linalg.norm(grid - rng.uniform(2, 6, 3), axis=-1) < rng.uniform(2, 4)
        for _ in range(count)
    ]
    label = np.stack(inside).astype(np.int32)
    image = 2.0 * label - 0.5 + rng.normal(0, 0.1, label.shape)
    return {"image": jnp.asarray(image[..., None], jnp.float32), "label": jnp.asarray(label)}


def test_held_out_images_come_back_better_after_some_steps(once):
    settings = {"channels": (4, 8), "couplings": 1, "groups": 2}
    model = build("FullInvRes", 1, 2, settings, 0, vae=VAESettings(SIZE, 8))
    graph, params = nnx.split(model)
    optimiser = optax.adam(1e-2)
    step = once(
        make_step(
            graph,
            optimiser,
            Augmentation.off(),
            average=0.9,
            weights=ReconstructionWeights(1.0, 0.1),
        )
    )

    @once
    def held_out(params: Any) -> jax.Array:
        images = bright_balls(seed=10_000, count=4)["image"]
        vae: Any = nnx.merge(graph, params).outputs(images, jax.random.key(5)).vae
        return mean_squared_error(vae.image, images)

    state = first_state(params, optimiser, seed=0)
    before, history = held_out(state.params), []
    for number in range(60):
        state, metrics = step(state, bright_balls(number))
        history.append({name: float(value) for name, value in metrics.items()})
    assert np.isfinite([list(row.values()) for row in history]).all()
    assert all(row["kl"] >= 0 for row in history)
    for row in history:
        rest = row["loss"] - row["reconstruction"] - 0.1 * row["kl"]
        assert 0 < rest < 4  # Dice and cross-entropy
    assert held_out(state.params) < 0.7 * before
