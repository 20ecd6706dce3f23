import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from invseg_jax.layers.norm import GroupNorm


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def norm_of(features, groups, seed=0):
    norm = GroupNorm(features, groups)
    norm.scale[...] = random((features,), seed)
    norm.offset[...] = random((features,), seed + 1)
    return norm


def formula(x, norm):
    """Group normalisation in float64, a group at a time."""
    x = np.asarray(x, np.float64)
    y = np.empty_like(x)
    size = x.shape[-1] // norm.groups
    for example in range(x.shape[0]):
        for group in range(norm.groups):
            part = np.s_[example, ..., group * size : (group + 1) * size]
            y[part] = (x[part] - x[part].mean()) / np.sqrt(x[part].var() + norm.epsilon)
    return y * np.asarray(norm.scale[...]) + np.asarray(norm.offset[...])


@settings(max_examples=8)
@given(
    batch=st.integers(1, 2),
    size=st.tuples(*[st.integers(1, 4)] * 3),
    features=st.integers(1, 6),
    groups=st.integers(1, 4),
)
def test_against_the_formula(batch, size, features, groups):
    norm, x = norm_of(features, groups), random((batch, *size, features), 2)
    assert features % norm.groups == 0 and norm.groups <= groups
    np.testing.assert_allclose(jax.jit(norm.__call__)(x), formula(x, norm), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("features", "groups"), [(6, 3), (4, 1), (5, 5)])
def test_values_and_gradients_are_flax_s(assert_close, features, groups):
    norm, x = norm_of(features, groups), random((2, 3, 1, 4, features), 2)
    flax = nnx.GroupNorm(
        features, groups, epsilon=norm.epsilon, use_fast_variance=False, rngs=nnx.Rngs(0)
    )
    assert flax.scale is not None and flax.bias is not None
    flax.scale[...], flax.bias[...] = norm.scale[...], norm.offset[...]
    dy = random(x.shape, 3)

    @jax.jit
    def pull(module, x):
        y, transpose = jax.vjp(lambda module, x: module(x), module, x)
        return y, *transpose(dy)

    y, dnorm, dx = pull(norm, x)
    expected, dflax, expected_dx = pull(flax, x)
    assert_close((y, dx), (expected, expected_dx))
    assert_close(
        (dnorm.scale[...], dnorm.offset[...]), (dflax.scale[...], dflax.bias[...]), relative=1e-5
    )


def test_examples_do_not_see_each_other(assert_close):
    norm, x = norm_of(4, 2), random((3, 2, 2, 2, 4))
    assert_close(norm(x)[1:2], norm(x[1:2]))


@pytest.mark.parametrize(
    ("features", "groups", "used"), [(32, 8, 8), (30, 8, 2), (7, 8, 1), (240, 30, 30), (1, 8, 1)]
)
def test_groups_divide_the_features(features, groups, used):
    assert GroupNorm(features, groups).groups == used


def test_a_constant_group_gives_the_offset():
    norm = norm_of(4, 2)
    y = norm(jnp.full((1, 2, 2, 2, 4), 7.0))
    expected = np.broadcast_to(norm.offset[...], (1, 2, 2, 2, 4))
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    one = norm_of(2, 2)
    np.testing.assert_allclose(one(random((1, 1, 1, 1, 2)))[0, 0, 0, 0], one.offset[...], rtol=1e-6)


def test_a_mean_far_from_zero_costs_no_precision():
    norm, x = norm_of(4, 2), random((1, 8, 8, 8, 4)) + 1000.0
    # E[x^2] - E[x]^2 would have lost the variance, 1 of 1,000,000, to rounding.
    np.testing.assert_allclose(norm(x), formula(x, norm), rtol=1e-3, atol=1e-3)
