import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.reversible import (
    AdditiveCoupling,
    Chain,
    Halve,
    InPlace,
    Inverse,
    Join,
    Orthogonal,
    Planes,
    Split,
    Squeeze,
    Tap,
    learned_down,
    run,
)
from invseg_jax.reversible.planes import flattened, unflattened


def volume(channels, seed=0, shape=(2, 2, 4, 6)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(*shape, channels)), jnp.float32)


def test_there_and_back():
    x = volume(3)
    planes = Planes.of(x)
    assert planes.rows.shape == (2, 2, 24, 3)
    np.testing.assert_array_equal(planes.rows[1, 0, 2 * 6 + 5], x[1, 0, 2, 5])
    np.testing.assert_array_equal(planes.volume, x)


def test_trees_keep_what_is_no_volume():
    tree = {"volume": volume(1), "numbers": jnp.arange(3.0)}
    flat = flattened(tree)
    assert isinstance(flat["volume"], Planes) and flat["numbers"] is tree["numbers"]
    jax.tree.map(np.testing.assert_array_equal, unflattened(flat), tree)


def turns(params):
    return params


def branch(params, x, key):
    # Each row of voxels by itself: a branch that took flat planes for a volume would be found out.
    return jnp.tanh(jnp.cumsum(x, axis=3) * params)


K = [0.3 * jnp.ones((1, 2, 2), jnp.float32)]
LAYERS = {
    "squeeze": (Squeeze(), ()),
    "unsqueeze": (Chain((Squeeze(), Inverse(Squeeze()))), ((), ())),
    "orthogonal": (Orthogonal(turns), K),
    "split": (Split(1, Tap("inside")), ()),
    "down": (
        learned_down(turns, (1, 1, 2)),
        {"squeeze": (), "rotation": [0.2 * jnp.ones((4, 1, 1), jnp.float32)]},
    ),
    "coupling": (
        Chain((Halve(), AdditiveCoupling(branch), Join(2))),
        ((), jnp.float32(0.5), ()),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_do_to_planes_what_they_do_to_volumes(assert_close, name):
    (layer, params), x = LAYERS[name], volume(4)
    y, taps = jax.jit(lambda params, x: layer.forward(params, x))(params, x)
    flat_y, flat_taps = jax.jit(lambda params, x: layer.forward(params, x))(params, Planes.of(x))
    assert isinstance(flat_y, Planes)
    assert_close(unflattened((flat_y, flat_taps)), (y, taps), relative=1e-6)

    dy, dtaps = jax.tree.map(jnp.ones_like, (y, dict(taps)))
    pulled = jax.jit(lambda params, y, dy, dtaps: layer.pullback(params, y, dy, dtaps))
    expected = pulled(params, y, dy, dtaps)
    got = pulled(params, flat_y, *flattened((dy, dtaps)))
    assert_close(unflattened(got), expected, relative=1e-6)


def test_in_place_where_the_stream_is_planes(assert_close):
    """Called inside of a reversible run, with planes, and nowhere else."""
    seen = []

    def evaluate(params, x, key, into):
        seen.append("evaluate")
        rows = into.combine(into.stream.rows, Planes.of(branch(params, x.volume, key)).rows)
        return Planes(rows, x.width)

    def pullback(params, x, key, into, df):
        seen.append("pullback")
        _, transpose = jax.vjp(lambda p, x: Planes.of(branch(p, x.volume, key)), params, x)
        dparams, dx = transpose(df)
        return evaluate(params, x, key, into), dx, dparams

    def layer(in_place):
        coupling = AdditiveCoupling(branch, in_place=in_place)
        return Chain((Halve(), coupling, coupling, Join(2)))

    params, x = ((), jnp.float32(0.5), jnp.float32(-0.7), ()), volume(4)

    def loss(memory, in_place):
        def value(params, x):
            return jnp.square(run(layer(in_place), params, x, memory=memory)[0]).sum()

        return jax.jit(jax.value_and_grad(value, (0, 1)))(params, x)

    plain = loss("plain", InPlace(evaluate, pullback))
    assert not seen
    assert_close(loss("reversible", InPlace(evaluate, pullback)), plain)
    assert seen.count("pullback") == 2 and seen.count("evaluate") == 4
    assert_close(loss("reversible", None), plain)
