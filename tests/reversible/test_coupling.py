from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from invseg_jax.reversible import AdditiveCoupling, Chain


def branch(params, x, key):
    """No Flax: two matrix products around a tanh, and dropout where there is a key."""
    hidden = jnp.tanh(x @ params["in"])
    if key is not None:
        hidden = hidden * jax.random.bernoulli(key, 0.5, hidden.shape).astype(x.dtype)
    return hidden @ params["out"]


def weights(rng, features_in, features_out, hidden=3):
    return {
        "in": jnp.asarray(rng.normal(size=(features_in, hidden)), jnp.float32),
        "out": jnp.asarray(rng.normal(size=(hidden, features_out)), jnp.float32),
    }


def halves(rng, first, second, shape=(2, 3, 1, 2)):
    x1, x2 = (jnp.asarray(rng.normal(size=(*shape, c)), jnp.float32) for c in (first, second))
    return x1, x2


def test_forward_is_the_equation():
    rng = np.random.default_rng(0)
    params, (x1, x2) = weights(rng, 3, 2), halves(rng, 2, 3)
    (y1, y2), taps = AdditiveCoupling(branch).forward(params, (x1, x2))
    expected = np.asarray(x1) + np.tanh(np.asarray(x2) @ params["in"]) @ params["out"]
    np.testing.assert_array_equal(y1, x2)
    np.testing.assert_allclose(y2, expected, rtol=1e-5, atol=1e-6)
    assert not taps


@settings(max_examples=6)
@given(
    first=st.integers(1, 4),
    second=st.integers(1, 4),
    shape=st.tuples(*[st.integers(1, 3)] * 4),
    dropout=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_inverse_and_pullback_fit_forward(check_layer, first, second, shape, dropout, seed):
    rng = np.random.default_rng(seed)
    key = jax.random.key(seed) if dropout else None
    x = halves(rng, first, second, shape)
    check_layer(AdditiveCoupling(branch), weights(rng, second, first), x, key)


def test_two_in_a_row_are_a_revnet_block(assert_close):
    rng = np.random.default_rng(1)
    f, g, (x1, x2) = weights(rng, 3, 2), weights(rng, 2, 3), halves(rng, 2, 3)
    pair = Chain((AdditiveCoupling(branch), AdditiveCoupling(branch)))
    y, _ = pair.forward((f, g), (x1, x2))
    # Gomez et al. 2017, equation 6: y1 = x1 + F(x2), y2 = x2 + G(y1).
    y1 = x1 + branch(f, x2, None)
    assert_close(y, (y1, x2 + branch(g, y1, None)))


def test_the_key_replays_the_mask():
    rng = np.random.default_rng(3)
    params, x = weights(rng, 2, 2, hidden=16), halves(rng, 2, 2)
    layer = AdditiveCoupling(branch)
    y, _ = layer.forward(params, x, jax.random.key(0))
    np.testing.assert_allclose(layer.inverse(params, y, jax.random.key(0))[0], x[0], atol=1e-5)
    assert np.abs(layer.inverse(params, y, jax.random.key(1))[0] - x[0]).max() > 0.1


def test_pullback_evaluates_the_branch_once():
    calls = []

    def counted(params: Any, x: jax.Array, key: Any) -> jax.Array:
        calls.append(x.shape)
        return branch(params, x, key)

    rng = np.random.default_rng(4)
    params, x = weights(rng, 3, 2), halves(rng, 2, 3)
    layer = AdditiveCoupling(counted)
    y, _ = layer.forward(params, x)
    assert len(calls) == 1
    layer.pullback(params, y, y, {})
    assert len(calls) == 2
