import re
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from invseg_jax.reversible import (
    AdditiveCoupling,
    Arithmetic,
    Chain,
    FixedPoint,
    Halve,
    Inverse,
    Memory,
    Orthogonal,
    Repeat,
    Split,
    Squeeze,
    StraightThrough,
    Tap,
    invert,
    run,
)
from invseg_jax.reversible.arithmetic import FLOAT


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def branch(params, x, key):
    y = jnp.tanh(x @ params)
    return y if key is None else y * jax.random.bernoulli(key, 0.5, y.shape).astype(y.dtype)


def trunk(channels, count, skip=1, arithmetic: Arithmetic = FLOAT):
    """Mixing, a split around `count` couplings, a tap, and mixing: a layer and its params."""
    first, second = channels - skip - (channels - skip) // 2, (channels - skip) // 2
    params = []
    for i in range(count):
        params.append(random((second, first), i))
        first, second = second, first
    couplings = Chain(
        (Halve(), *[AdditiveCoupling(branch, arithmetic)] * count, Inverse(Halve(first)))
    )
    mixing = Orthogonal(lambda turns: turns, arithmetic)
    half = channels - channels // 2
    weights = [[random((1, half, channels // 2), seed)] for seed in (20, 21)]
    layers = (mixing, Split(skip, couplings), Tap("inner"), mixing)
    return Chain(layers), (weights[0], ((), *params, ()), (), weights[1])


@settings(max_examples=4)
@given(
    channels=st.integers(3, 6),
    count=st.integers(1, 3),
    batch=st.integers(1, 2),
    dropout=st.booleans(),
)
def test_three_memories_one_gradient(assert_close, channels, count, batch, dropout):
    layer, params = trunk(channels, count)
    x = random((batch, 3, 1, 2, channels), 7)
    key = jax.random.key(3) if dropout else None

    def loss(params, x, key, memory):
        y, taps = run(layer, params, x, key, memory=memory)
        return jnp.sin(y).sum() + (taps["inner"] ** 3).sum()

    def gradient(memory):
        call = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnames="memory")
        return call(params, x, key, memory=memory)

    plain = gradient("plain")
    assert_close(gradient("reversible"), plain, least=1.0)
    assert_close(gradient("remat"), plain, least=1.0)


def test_gradients_against_finite_differences():
    layer, params = trunk(4, 2)
    x = random((1, 2, 1, 1, 4), 7)

    @jax.jit
    def outputs(params, x):
        y, taps = run(layer, params, x, jax.random.key(0), memory="reversible")
        return jnp.sin(y), taps["inner"] ** 2

    check_grads(outputs, (params, x), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


def test_outside_jit_and_with_the_output_unused(assert_close):
    layer, params = trunk(3, 1)
    x = random((1, 1, 1, 2, 3))

    def tapped(params, memory):
        return run(layer, params, x, memory=memory)[1]["inner"].sum()

    assert_close(jax.grad(tapped)(params, "reversible"), jax.grad(tapped)(params, "plain"))


def test_reversible_keeps_the_output_whatever_the_depth():
    def kept(count, memory):
        layer, params = trunk(5, count)
        x = random((1, 8, 8, 8, 5))
        _, pullback = jax.vjp(lambda x: run(layer, params, x, memory=memory)[0], x)
        large = [leaf for leaf in jax.tree.leaves(pullback) if leaf.size > 500]
        return sum(leaf.size for leaf in large) / x.size

    assert kept(2, "reversible") == kept(6, "reversible") == 1.0
    assert kept(6, "plain") > kept(2, "plain") + 1.0


@pytest.mark.parametrize("count", [1, 4])
def test_fixed_point_has_the_gradient_of_rounding_straight_through(assert_close, count):
    x, key = random((2, 3, 1, 2, 6), 7), jax.random.key(3)

    def gradient(memory, arithmetic):
        layer, params = trunk(6, count, 2, arithmetic)

        def loss(params, x):
            y, taps = run(layer, params, x, key, memory=memory)
            return jnp.sin(y).sum() + (taps["inner"] ** 3).sum()

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, x)

    expected = gradient("plain", StraightThrough())
    assert_close(gradient("reversible", FixedPoint()), expected, least=1.0)
    assert_close(gradient("remat", StraightThrough()), expected, least=1.0)


def test_the_arithmetic_of_a_stream_is_that_of_its_layers():
    """Given twice, and not the same, it would be wrong without a word."""
    x = random((1, 2, 1, 2, 4), 7)
    for arithmetic in (FLOAT, FixedPoint(8)):
        layer, params = trunk(4, 2, arithmetic=arithmetic)
        y, _ = run(layer, params, x, memory="reversible")
        stream, _ = layer.forward(params, arithmetic.encode(x))
        np.testing.assert_array_equal(y, arithmetic.decode(stream))
        returned = arithmetic.decode(arithmetic.encode(x))
        np.testing.assert_allclose(invert(layer, params, y), returned, atol=1e-5)


@pytest.mark.parametrize("memory", get_args(Memory))
def test_layers_of_different_arithmetic_are_refused(memory):
    inner, outer = trunk(3, 1)[0], trunk(3, 1, arithmetic=FixedPoint())[0]
    sentence = r"^the layers of one stream have different arithmetics: FixedPoint.*, Float\(\)$"
    with pytest.raises(ValueError, match=sentence):
        run(Chain((Squeeze(), outer, inner)), ((), (), ()), random((1, 2, 2, 2, 1)), memory=memory)
    with pytest.raises(ValueError, match=sentence):
        invert(Chain((outer, inner)), ((), ()), random((1, 2, 2, 2, 3)))


def test_integers_are_not_differentiated():
    layer, params = trunk(3, 1, arithmetic=FixedPoint())
    with pytest.raises(ValueError, match=r"^memory='plain': integers cannot be differentiated"):
        run(layer, params, random((1, 1, 1, 1, 3)), memory="plain")


@pytest.mark.parametrize("arithmetic", [FLOAT, FixedPoint()])
def test_an_overflow_reaches_the_output_and_the_gradient(arithmetic):
    def explode(params, x, key):
        return params * x * x

    layer = Chain((Halve(), *[AdditiveCoupling(explode, arithmetic)] * 6, Inverse(Halve())))
    params = ((), *[jnp.float32(1e3)] * 6, ())

    def loss(params, x):
        return run(layer, params, x, memory="reversible")[0].sum()

    value, gradient = jax.value_and_grad(loss)(params, random((1, 1, 1, 2, 2)))
    assert not np.isfinite(value)
    assert not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("memory", get_args(Memory))
@pytest.mark.parametrize("fixed", [False, True])
def test_a_loop_gives_what_a_chain_gives(assert_close, memory, fixed):
    exact = FixedPoint() if memory == "reversible" else StraightThrough()
    arithmetic = exact if fixed else FLOAT
    params = ((), random((4, 3, 3)), ())
    x, key = random((2, 2, 1, 2, 6), 9), jax.random.key(1)

    def gradient(scan):
        repeat = Repeat(AdditiveCoupling(branch, arithmetic), 4, scan)
        layer = Chain((Halve(), repeat, Inverse(Halve())))

        def loss(params, x):
            y, _ = run(layer, params, x, key, memory=memory)
            return jnp.sin(y).sum(), y

        pull = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        assert ("length=4" in str(jax.make_jaxpr(pull)(params, x))) is scan
        numbers = arithmetic.encode(x)
        y, _ = layer.forward(params, numbers, key)
        back = jax.jit(layer.inverse)(params, y, key)
        return jax.jit(pull)(params, x), back

    (looped, looped_back), (written, written_back) = gradient(True), gradient(False)
    assert_close(looped, written)
    assert_close(looped_back, written_back)
    if fixed and memory == "reversible":
        np.testing.assert_array_equal(looped_back, arithmetic.encode(x))


@pytest.mark.parametrize("memory", get_args(Memory))
@pytest.mark.parametrize("space", [(2, 1, 3), (2, 3)])
def test_taps_in_a_loop_come_out_stacked(assert_close, memory, space):
    """The gradient through them is that of a chain with a tap of its own behind each layer."""
    mixing, key = Orthogonal(lambda turns: turns), jax.random.key(1)
    weights, x = random((3, 1, 1, 2, 2)), random((2, *space, 4), 5)
    scale = random((3, 2, *space, 4), 6)

    def gradient(layer, params, stacked):
        def loss(params, x):
            y, taps = run(layer, params, x, key, memory=memory)
            tapped = stacked(taps)
            assert tapped.shape == scale.shape
            return jnp.sin(y).sum() + (scale * tapped**2).sum()

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, x)

    single = [Chain((mixing, Tap(f"t{i}"))) for i in range(3)]
    value, (dparams, dx) = gradient(
        Chain(tuple(single)),
        tuple(([own], ()) for own in weights[:, 0]),
        lambda taps: jnp.stack([taps[f"t{i}"] for i in range(3)]),
    )
    expected = value, (([jnp.stack([own for (own,), _ in dparams])], ()), dx)
    for scan in (False, True):
        repeat = Repeat(Chain((mixing, Tap("t"))), 3, scan)
        got = gradient(repeat, ([weights[:, 0]], ()), lambda taps: taps["t"])
        assert_close(got, expected, relative=1e-4)


@pytest.mark.parametrize("scan", [False, True])
def test_a_repeat_wants_its_parameters_stacked(scan: bool):
    repeat = Repeat(AdditiveCoupling(branch), 4, scan)
    x = (random((1, 2, 3)), random((1, 2, 3)))
    with pytest.raises(ValueError, match=r"^4 layers got parameters stacked by \[3\]$"):
        repeat.forward(random((3, 3, 3)), x)
    with pytest.raises(ValueError, match=r"^4 layers got parameters stacked by \[0\]$"):
        repeat.inverse(jnp.ones(()), x)


def test_one_trunk_under_vmap(assert_close):
    layer, params = trunk(4, 2)
    x = random((2, 1, 2, 1, 1, 4))

    @jax.jit
    @jax.grad
    def gradient(x):
        return jnp.sin(run(layer, params, x, memory="reversible")[0]).sum()

    expected = jnp.stack([gradient(one) for one in x])
    assert_close(jax.vmap(gradient)(x), expected)


def test_an_unknown_memory_is_refused():
    layer, params = trunk(3, 1)
    sentence = r"^memory is 'swap'; it can be reversible, plain, remat$"
    with pytest.raises(ValueError, match=sentence):
        run(layer, params, random((1, 1, 1, 1, 3)), memory="swap")  # pyright: ignore[reportArgumentType]
    assert get_args(Memory) == ("reversible", "plain", "remat")


def composed(arithmetic: Arithmetic, scan: bool):
    """Mixing, and a loop of couplings on a part of the channels: no taps."""
    couplings = Repeat(AdditiveCoupling(branch, arithmetic), 3, scan)
    halved = Chain((Halve(), couplings, Inverse(Halve())))
    layer = Chain((Orthogonal(lambda turns: turns, arithmetic), Split(1, halved)))
    return layer, ([random((1, 3, 2), 3)], ((), random((3, 2, 2), 4), ()))


@pytest.mark.parametrize("scan", [False, True])
def test_the_inverse_of_a_composition_is_run_in_every_memory(assert_close, scan):
    layer, params = composed(FLOAT, scan)
    x, key = random((2, 2, 1, 3, 5), 8), jax.random.key(1)

    def value(layer, memory):
        return lambda params, x: jnp.sin(run(layer, params, x, key, memory=memory)[0]).sum()

    def gradient(memory):
        pull = jax.value_and_grad(value(Inverse(layer), memory), argnums=(0, 1))
        return jax.jit(pull)(params, x)

    def checkpoints(layer, memory):
        program = str(jax.make_jaxpr(value(layer, memory))(params, x))
        return len(re.findall(r"\b(?:remat2?|checkpoint)\[", program))

    # Around each elementary layer, not one around all.
    assert checkpoints(Inverse(layer), "remat") == checkpoints(layer, "remat") > 2
    assert checkpoints(Inverse(layer), "plain") == 0
    plain, remat = gradient("plain"), gradient("remat")
    assert_close(remat, plain, least=1.0)
    assert_close(gradient("reversible"), plain, least=1.0)


@pytest.mark.parametrize("scan", [False, True])
def test_the_inverse_of_a_composition_keeps_the_bits(scan):
    """And nothing but its output, as the composition does."""
    numbers = FixedPoint()
    layer, params = composed(numbers, scan)
    x, key = numbers.encode(random((2, 2, 1, 3, 5), 8)), jax.random.key(1)

    @jax.jit
    def there_and_back(params, x):
        y, _ = Inverse(layer).forward(params, x, key)
        return Inverse(layer).pullback(params, y, random(x.shape, 9), {}, key)[0]

    np.testing.assert_array_equal(there_and_back(params, x), x)
    large = random((1, 8, 8, 8, 5))
    _, pullback = jax.vjp(lambda x: run(Inverse(layer), params, x, memory="reversible")[0], large)
    kept = sum(leaf.size for leaf in jax.tree.leaves(pullback) if leaf.size > 500)
    assert kept == large.size
