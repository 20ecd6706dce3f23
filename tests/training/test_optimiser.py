import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from invseg_jax.experiment import OptimiserSettings
from invseg_jax.models import FullInvRes, FullInvResSettings
from invseg_jax.runs.train_state import finite_parts
from invseg_jax.training.optimiser import first_state, make_optimiser, schedule

SETTINGS = OptimiserSettings(learning_rate=0.1, warmup=10)


def test_the_learning_rate_warms_up_and_decays_to_zero():
    rate = rates(SETTINGS, 110)
    for step in range(11):
        assert rate[step] == pytest.approx(0.1 * (step + 1) / 11)
    for step in (10, 35, 60, 99, 110):
        cosine = (1 + math.cos(math.pi * (step - 10) / 100)) / 2
        assert rate[step] == pytest.approx(0.1 * cosine, abs=1e-8)
    assert rate.index(max(rate)) == 10


def rates(settings: OptimiserSettings, steps: int) -> list[float]:
    """The learning rate at each step and after the last one."""
    rate: Any = schedule(settings, steps)
    return [float(rate(step)) for step in range(max(steps, 1) + 1)]


def update(optimiser: optax.GradientTransformation, gradient, state, params) -> Any:
    # Optax takes a power of a float and an integer.
    with jax.numpy_dtype_promotion("standard"):
        return optimiser.update(gradient, state, params)


@pytest.mark.parametrize("power", [0.9, 2.0])
def test_the_polynomial_decay_after_the_warm_up(power: float):
    rate: Any = schedule(replace(SETTINGS, schedule="polynomial", power=power), 110)
    for step in (0, 4, 10):
        assert float(rate(step)) == pytest.approx(0.1 * (step + 1) / 11)
    for step in (11, 35, 60, 109, 110):
        assert float(rate(step)) == pytest.approx(0.1 * (1 - (step - 10) / 100) ** power, abs=1e-8)


@pytest.mark.parametrize("decay", ["cosine", "polynomial"])
@pytest.mark.parametrize("steps", [1, 2, 5, 19])
def test_a_run_that_is_all_warm_up(steps: int, decay: str):
    """An experiment refuses a warm-up that is longer."""
    rate = rates(replace(SETTINGS, warmup=steps, schedule=decay), steps)
    rising = [0.1 * (step + 1) / (steps + 1) for step in range(steps + 1)]
    assert rate == pytest.approx(rising)


@pytest.mark.parametrize("decay", ["cosine", "polynomial"])
@pytest.mark.parametrize("warmup", [0, 1])
def test_short_runs_reach_the_peak_and_end_at_zero(warmup: int, decay: str):
    rate = rates(replace(SETTINGS, warmup=warmup, schedule=decay), warmup + 1)
    assert max(rate) == pytest.approx(0.1)
    assert rate[-1] == pytest.approx(0, abs=1e-8)
    assert min(rate[:-1]) > 0


def test_no_warm_up():
    assert rates(replace(SETTINGS, warmup=0), 100)[0] == pytest.approx(0.1)


def test_weights_decay_but_not_scales_and_biases():
    params = {
        "kernel": jnp.full((3, 3, 3, 1, 2), 2.0),
        "matrix": jnp.full((2, 2), 2.0),
        "bias": jnp.full((2,), 2.0),
        "scalar": jnp.asarray(2.0),
    }
    optimiser = make_optimiser(replace(SETTINGS, warmup=0, weight_decay=0.5), 100)
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, _ = update(optimiser, nothing, optimiser.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    np.testing.assert_allclose(updates["matrix"], -0.1 * 0.5 * 2.0, rtol=1e-6)
    np.testing.assert_array_equal(updates["bias"], 0)
    np.testing.assert_array_equal(updates["scalar"], 0)


def test_the_optimiser_against_adamw_written_out():
    settings = OptimiserSettings(learning_rate=0.1, warmup=3, weight_decay=0.2, clip=1.5)
    optimiser, rate = make_optimiser(settings, 20), rates(settings, 20)
    rng = np.random.default_rng(0)
    params: Any = {"b": jnp.zeros(4), "w": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)}
    state = optimiser.init(params)
    x = np.concatenate([np.zeros(4), np.asarray(params["w"], np.float64).ravel()])
    decayed = np.arange(16) >= 4
    m, v = np.zeros(16), np.zeros(16)
    # From far below the greatest norm to far above it.
    for step, size in enumerate((0.01, 0.1, 1.0, 100.0, 0.3)):
        g = size * rng.normal(size=16).astype(np.float32)
        gradient = {"b": jnp.asarray(g[:4]), "w": jnp.asarray(g[4:].reshape(4, 3))}
        updates, state = update(optimiser, gradient, state, params)
        params = optax.apply_updates(params, updates)
        clipped = g * min(1.0, 1.5 / np.linalg.norm(g))
        m = 0.9 * m + 0.1 * clipped
        v = 0.999 * v + 0.001 * clipped**2
        adam = m / (1 - 0.9 ** (step + 1)) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
        x = x - rate[step] * (adam + 0.2 * decayed * x)
    found = np.concatenate([params["b"], np.asarray(params["w"]).ravel()])
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_gradient_descent_written_out(nesterov: bool):
    settings = OptimiserSettings(
        name="sgd",
        learning_rate=0.1,
        warmup=0,
        schedule="polynomial",
        momentum=0.9,
        nesterov=nesterov,
        weight_decay=0.2,
        clip=1.5,
    )
    optimiser = make_optimiser(settings, 4)
    rng = np.random.default_rng(0)
    params: Any = {"b": jnp.ones(2), "w": jnp.asarray(rng.normal(size=(2, 2)), jnp.float32)}
    state = optimiser.init(params)
    x = np.concatenate([np.ones(2), np.asarray(params["w"], np.float64).ravel()])
    m = np.zeros(6)
    compiled = jax.jit(optimiser.update)
    for step, size in enumerate((0.1, 10.0, 1.0)):
        g = size * rng.normal(size=6).astype(np.float32)
        gradient = {"b": jnp.asarray(g[:2]), "w": jnp.asarray(g[2:].reshape(2, 2))}
        updates, state = compiled(gradient, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        # As PyTorch has it: clipped, then the decay of the weights, then the momentum.
        g = g * min(1.0, 1.5 / np.linalg.norm(g)) + 0.2 * (np.arange(6) >= 2) * x
        m = 0.9 * m + g
        x = x - 0.1 * (1 - step / 4) ** 0.9 * (g + 0.9 * m if nesterov else m)
    found = np.concatenate([params["b"], np.asarray(params["w"]).ravel()])
    np.testing.assert_allclose(found, x, rtol=1e-5)


def test_settings_at_the_ends_of_their_ranges():
    ends = OptimiserSettings(learning_rate=0, warmup=0, weight_decay=0, clip=math.inf, average=0)
    params = {"w": jnp.ones((2, 2))}
    optimiser = make_optimiser(ends, 10)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimiser.update(params, optimiser.init(params), params)
    assert [np.any(leaf) for leaf in jax.tree.leaves(updates)] == [False]


def test_the_first_state():
    params = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(3)}
    state = first_state(params, make_optimiser(SETTINGS, 10), seed=7)
    assert state.step.dtype == jnp.int32
    assert state.step == 0
    assert state.key == jax.random.key(7)
    for name, value in params.items():
        np.testing.assert_array_equal(state.averaged[name], value)
        # A step that donates its state cannot be given one buffer twice.
        there, here = (tree[name].unsafe_buffer_pointer() for tree in (state.averaged, params))
        assert there != here


def test_neither_scales_of_stacked_couplings_nor_rotations_decay():
    # Their shapes, and ones in them: to draw the weights takes longest.
    settings = FullInvResSettings(channels=(4, 8), couplings=3, auxiliary=0)
    model: Any = nnx.eval_shape(lambda: FullInvRes(1, 2, settings, rngs=nnx.Rngs(0)))
    params = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), nnx.state(model, nnx.Param))
    optimiser = make_optimiser(replace(SETTINGS, warmup=0, weight_decay=0.5), 100)

    @jax.jit
    def update_of_nothing(params: Any) -> Any:
        nothing = jax.tree.map(jnp.zeros_like, params)
        return update(optimiser, nothing, optimiser.init(params), params)[0]

    updates: Any = update_of_nothing(params)
    still = {(name, False) for name in ("scale", "offset", "bias", "turns")}
    moved = {
        # The turns of a rotation are numbered.
        (path[-1] if isinstance(path[-1], str) else path[-2], bool(jnp.any(leaf[...] != 0)))
        for path, leaf in nnx.to_flat_state(updates)
    }
    assert moved == {("kernel", True)} | still


@pytest.mark.parametrize("part", ["params", "averaged", "optimiser"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_number_that_is_not_finite_is_found(part: str, value: float):
    params = {"a": jnp.ones((3, 4)), "half": jnp.ones(5, jnp.bfloat16)}
    state = first_state(params, make_optimiser(OptimiserSettings(), 10), seed=0)
    assert {name: bool(fine) for name, fine in finite_parts(state).items()} == {
        "params": True,
        "averaged": True,
        "optimiser": True,
    }
    leaves, structure = jax.tree.flatten(getattr(state, part))
    for number, leaf in enumerate(leaves):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            continue
        broken = leaf.at[(-1,) * leaf.ndim].set(value)
        others = [*leaves[:number], broken, *leaves[number + 1 :]]
        found = finite_parts(replace(state, **{part: jax.tree.unflatten(structure, others)}))
        assert [name for name, fine in found.items() if not fine] == [part]
