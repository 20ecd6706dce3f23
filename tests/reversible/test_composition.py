import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invseg_jax.reversible import (
    AdditiveCoupling,
    Chain,
    Halve,
    Inverse,
    Layer,
    Level,
    Orthogonal,
    Split,
    Squeeze,
    Tap,
    Tapped,
    learned_down,
    learned_up,
    rotation,
    u_shape,
)


def given_turns(params):
    return params


mixing = Orthogonal(given_turns)


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def turn(groups, size, seed=0):
    """One turn of each group: the params of `mixing`."""
    return [random((groups, size - size // 2, size // 2), seed)]


def branch(params, x, key):
    y = jnp.tanh(x @ params)
    return y if key is None else y * jax.random.bernoulli(key, 0.5, y.shape).astype(y.dtype)


def coupled(channels, count, seed=0):
    """Halve, `count` couplings, join: a layer and its params."""
    first, second = channels - channels // 2, channels // 2
    params = []
    for i in range(count):
        params.append(random((second, first), seed + i))
        first, second = second, first
    layers = (Halve(), *[AdditiveCoupling(branch)] * count, Inverse(Halve(first)))
    return Chain(layers), ((), *params, ())


def u(channels, counts, taps=False):
    """A bijective U with couplings on each level: a layer and its params."""
    levels, nested = [], []
    for i, (fine, coarse) in enumerate(zip(channels[:-1], channels[1:], strict=True)):
        down = coarse // 8
        encode, encoded = coupled(fine, counts[i], seed=10 * i)
        decode, decoded = coupled(fine, counts[i], seed=10 * i + 5)
        if taps:
            decode, decoded = Chain((decode, Tap(f"level {i}"))), (decoded, ())
        turns = turn(down, 8, seed=i)
        going_down, coming_up = learned_down(given_turns), learned_up(given_turns)
        levels.append(Level(encode, fine - down, going_down, coming_up, decode))
        resampling = {"squeeze": (), "rotation": turns}, {"rotation": turns, "unsqueeze": ()}
        nested.append((encoded, *resampling, decoded))
    bottom, params = coupled(channels[-1], counts[-1], seed=99)
    for encoded, going_down, coming_up, decoded in reversed(nested):
        deeper = {"down": going_down, "inner": params, "up": coming_up}
        params = {"contracting": encoded, "deeper": deeper, "expanding": decoded}
    return u_shape(levels, bottom), params


@settings(max_examples=5)
@given(channels=st.integers(2, 5), count=st.integers(1, 3), dropout=st.booleans())
def test_chain_of_couplings(check_layer, channels, count, dropout):
    layer, params = coupled(channels, count)
    key = jax.random.key(count) if dropout else None
    check_layer(layer, params, random((2, 1, 3, 2, channels), 7), key)


def test_chain_is_the_composition():
    x, (p, q) = random((1, 2, 1, 1, 4)), (turn(1, 4, 1), turn(1, 4, 2))
    y, _ = Chain((mixing, mixing)).forward([p, q], x)
    np.testing.assert_allclose(y, x @ (rotation(p) @ rotation(q))[0], atol=1e-5)


def test_chain_gives_each_layer_a_key_of_its_own():
    @dataclasses.dataclass(frozen=True)
    class Recorder(Layer):
        keys: list = dataclasses.field(default_factory=list)

        def forward(self, params, x, key=None):
            return self.inverse(params, x, key), {}

        def inverse(self, params, y, key=None):
            assert key is not None
            self.keys.append(jax.random.key_data(key).tolist())
            return y

    a, b = Recorder(), Recorder()
    chain, x, key = Chain((a, b)), random((2,)), jax.random.key(0)
    chain.forward(((), ()), x, key)
    chain.inverse(((), ()), x, key)
    chain.pullback(((), ()), x, x, {}, key)
    assert len(a.keys) > 2 and all(k == a.keys[0] for k in a.keys)
    assert len(b.keys) > 2 and all(k == b.keys[0] for k in b.keys)
    assert a.keys[0] != b.keys[0]


def test_chain_refuses_another_number_of_params():
    chain, x = Chain((mixing, mixing)), random((1, 4))
    sentence = r"^chain of 2 layers got 1 parameters$"
    for call in (
        lambda: chain.forward((None,), x),
        lambda: chain.inverse((None,), x),
        lambda: chain.pullback((None,), x, x, {}),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_a_chain_with_names_takes_and_gives_parameters_by_name(check_layer):
    weights, x = {"first": turn(1, 4, 1), "second": turn(1, 4, 2)}, random((1, 2, 1, 1, 4))
    named = Chain((mixing, mixing), ("first", "second"))
    unnamed = Chain((mixing, mixing)).forward(tuple(weights.values()), x)[0]
    np.testing.assert_array_equal(named.forward(weights, x)[0], unnamed)
    assert list(named.pullback(weights, x, x, {})[2]) == ["first", "second"]
    # A layer more leaves the others' names.
    longer = Chain((mixing, Squeeze(1), mixing), ("first", "between", "second"))
    np.testing.assert_array_equal(longer.forward({**weights, "between": ()}, x)[0], unnamed)
    check_layer(longer, {**weights, "between": ()}, x)


def test_a_chain_with_names_refuses_other_parameters():
    named = Chain((mixing, mixing), ("first", "second"))
    with pytest.raises(ValueError, match=r"^chain of first, second got the parameters of first$"):
        named.forward({"first": turn(1, 4)}, random((1, 4)))
    with pytest.raises(ValueError, match=r"^chain of first, second got the parameters of tuple$"):
        named.inverse((turn(1, 4), turn(1, 4)), random((1, 4)))
    for names in (("first", "first"), ("first",)):
        with pytest.raises(ValueError, match=r"^chain of 2 layers named .* a name of its own$"):
            Chain((mixing, mixing), names)


def test_tapped_is_a_chain_whose_parameters_are_the_layer_s(check_layer):
    layer, params = coupled(4, 2)
    tapped, key = Tapped(layer, (Tap("a"), Tap("b"))), jax.random.key(2)
    x = random((2, 3, 1, 2, 4))
    chain = Chain((layer, Tap("a"), Tap("b")))
    jax.tree.map(
        np.testing.assert_array_equal,
        tapped.forward(params, x, key),
        chain.forward((params, (), ()), x, key),
    )
    check_layer(tapped, params, x, key)


@pytest.mark.parametrize("skip", [1, 3])
def test_split(check_layer, skip):
    inner, params = coupled(5 - skip, 2)
    x = random((2, 3, 1, 1, 5))
    y, _ = Split(skip, inner).forward(params, x)
    np.testing.assert_array_equal(y[..., :skip], x[..., :skip])
    check_layer(Split(skip, inner), params, x)


@pytest.mark.parametrize("skip", [0, 4, 5, -1])
def test_split_needs_channels_on_both_sides(skip):
    with pytest.raises(ValueError, match=rf"^split: a skip of {skip} out of 4 channels$"):
        Split(skip, mixing).forward(random((1, 2, 2)), random((1, 1, 1, 1, 4)))


def test_tap_gives_the_stream_and_adds_its_cotangent(check_layer):
    p, q, x = turn(1, 3, 1), turn(1, 3, 2), random((2, 2, 1, 1, 3))
    chain, params = Chain((mixing, Tap("middle"), mixing)), (p, (), q)
    _, taps = chain.forward(params, x)
    np.testing.assert_allclose(taps["middle"], mixing.forward(p, x)[0], atol=1e-6)
    check_layer(chain, params, x)

    dy, dtap = random(x.shape, 3), random(x.shape, 4)
    y, dx, none = Tap("middle").pullback((), x, dy, {"middle": dtap})
    np.testing.assert_array_equal(y, x)
    np.testing.assert_allclose(dx, dy + dtap, rtol=1e-6)
    assert none == ()


def test_two_taps_of_one_name_are_refused():
    chain = Chain((Tap("a"), Chain((Tap("b"), Tap("a")))))
    with pytest.raises(ValueError, match=r"^two taps have the same name: a$"):
        chain.forward(((), ((), ())), random((1, 2)))


def test_inverse_exchanges_the_directions(check_layer):
    layer, params = coupled(5, 3)
    x = random((1, 2, 2, 1, 5))
    y, _ = Inverse(layer).forward(params, x)
    np.testing.assert_array_equal(y, layer.inverse(params, x))
    check_layer(Inverse(layer), params, x)
    check_layer(Inverse(Inverse(layer)), params, x)
    check_layer(Inverse(Squeeze()), (), random((2, 1, 2, 1, 16)))


def test_inverse_refuses_taps():
    with pytest.raises(ValueError, match=r"^inverse: the layer has taps: a$"):
        Inverse(Chain((Squeeze(), Tap("a"))))


@pytest.mark.parametrize(
    ("channels", "counts", "shape", "dropout"),
    [
        ((3,), (2,), (2, 1, 3, 5), False),
        ((5, 16), (1, 2), (1, 2, 6, 4), True),
        ((4, 24, 16), (2, 1, 1), (2, 4, 4, 8), False),
    ],
)
def test_u_shape(check_layer, channels, counts, shape, dropout):
    layer, params = u(channels, counts, taps=True)
    key = jax.random.key(1) if dropout else None
    check_layer(layer, params, random((*shape, channels[0]), 42), key)


def test_u_shape_taps():
    layer, params = u((4, 24, 16), (1, 1, 1), taps=True)
    x = random((1, 4, 4, 8, 4))
    y, taps = jax.eval_shape(layer.forward, params, x)
    assert y.shape == x.shape
    assert {name: tap.shape for name, tap in taps.items()} == {
        "level 0": (1, 4, 4, 8, 4),
        "level 1": (1, 2, 2, 4, 24),
    }


def test_u_shape_without_levels_is_its_bottom():
    assert u_shape([], mixing) is mixing


def test_a_layer_must_say_how():
    with pytest.raises(NotImplementedError, match="Layer"):
        Layer().forward((), random((1,)))
    with pytest.raises(NotImplementedError, match="Layer"):
        Layer().inverse((), random((1,)))
