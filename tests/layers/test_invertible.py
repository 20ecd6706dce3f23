from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from invseg_jax.layers import invertible
from invseg_jax.layers.branch import ResidualBranch
from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.invertible import Trunk, refuse_state
from invseg_jax.reversible import rotation


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


class Branch(nnx.Module):
    """A convolution, and what a test adds."""

    def __init__(self, features, **more):
        self.conv = Conv(features, features, 1, rngs=nnx.Rngs(0))
        for name, module in more.items():
            setattr(self, name, module)

    def __call__(self, x, key=None):
        return jnp.tanh(self.conv(x))


def couplings(features: int, count: int, **settings: Any) -> invertible.Weighted:
    settings = {"convolutions": 1, "groups": 2} | settings
    return invertible.couplings(features, count, **settings, rngs=nnx.Rngs(0))


@settings(max_examples=4, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    features=st.integers(2, 7),
    count=st.integers(1, 3),
    batch=st.integers(1, 2),
    size=st.tuples(*[st.integers(2, 4)] * 3),
)
def test_couplings(check_layer, features, count, batch, size):
    layer, params = couplings(features, count, groups=1)
    check_layer(layer, params, random((batch, *size, features)))


def test_couplings_of_two_convolutions_with_dropout(check_layer):
    layer, params = couplings(5, 2, convolutions=2, groups=1, dropout=0.2)
    check_layer(layer, params, random((2, 3, 2, 3, 5)), jax.random.key(0))


def test_resampling_and_mixing(check_layer):
    rngs = nnx.Rngs(0)
    check_layer(*invertible.mixing(5, rngs=rngs), random((2, 1, 2, 3, 5)))
    check_layer(*invertible.down(2, rngs=rngs), random((1, 2, 4, 2, 2)))
    check_layer(*invertible.up(2, rngs=rngs), random((2, 1, 2, 1, 16)))


def test_orthogonal_starts_at_the_identity_or_near():
    at = invertible.Orthogonal(2, 3, turns=2, rngs=nnx.Rngs(0))
    identity = np.tile(np.eye(3), (2, 1, 1))
    np.testing.assert_array_equal(rotation([turn[...] for turn in at.turns]), identity)
    near = invertible.Orthogonal(2, 3, turns=2, deviation=0.1, rngs=nnx.Rngs(0))
    moved = np.asarray(rotation([turn[...] for turn in near.turns]))
    assert 0 < np.abs(moved - identity).max() < 1


def u_of(features, going_down):
    rngs = nnx.Rngs(0)
    return invertible.u(
        invertible.chain(
            couplings=couplings(features, 1), mixing=invertible.mixing(features, rngs=rngs)
        ),
        features - going_down,
        invertible.down(going_down, rngs=rngs),
        invertible.tapped(couplings(8 * going_down, 1), "bottom"),
        invertible.up(going_down, rngs=rngs),
        couplings(features, 2),
    )


def test_u(check_layer):
    check_layer(*u_of(5, 2), random((1, 2, 4, 2, 5)))


def test_trunk_in_three_memories(assert_close):
    x, weighted = random((2, 2, 2, 4, 4)), u_of(4, 1)

    @jax.jit
    def pull(trunk, x):
        (y, taps), transpose = jax.vjp(lambda trunk, x: trunk(x), trunk, x)
        dtrunk, dx = transpose((jnp.cos(y), {"bottom": jnp.sin(taps["bottom"])}))
        return y, taps, nnx.state(dtrunk), dx

    plain = pull(Trunk(weighted, execution=Execution(memory="plain")), x)
    assert_close(pull(Trunk(weighted, execution=Execution(memory="reversible")), x), plain)
    assert_close(pull(Trunk(weighted, execution=Execution(memory="remat")), x), plain)


def test_trunk_inverse(assert_close):
    trunk, x = (
        Trunk(couplings(5, 2), execution=Execution(memory="reversible")),
        random((1, 2, 4, 2, 5)),
    )
    y, _ = jax.jit(trunk.__call__)(x)
    assert np.abs(y - x).max() > 0.1
    assert_close(jax.jit(trunk.inverse)(y), x)


def test_trunk_holds_every_parameter_of_its_layers():
    trunk = Trunk(couplings(6, 3), execution=Execution(memory="reversible"))
    shapes = [leaf.shape for leaf in jax.tree.leaves(nnx.state(trunk, nnx.Param))]
    assert sorted(shapes) == [(3, 3), (3, 3), (3, 3, 3, 3, 9)]
    assert len(jax.tree.leaves(nnx.state(trunk))) == 3


def test_a_trunk_refuses_layers_of_another_arithmetic():
    fixed = couplings(4, 1, execution=Execution(stream="fixed"))
    with pytest.raises(ValueError, match=r"^layers of FixedPoint\(.*\) in a trunk of Float\(\)$"):
        Trunk(fixed)


def test_parameters_have_names_that_taps_leave():
    weighted = u_of(4, 1)
    deeper = weighted.params["deeper"]
    assert list(weighted.params) == ["contracting", "deeper", "expanding"]
    assert list(deeper) == ["down", "inner", "up"]
    assert list(deeper["inner"]) == ["halve", "branches", "join"]
    more = invertible.tap_added(invertible.tapped(weighted, "a"), "b")
    assert more.params is weighted.params and more.layer.tap_names() == {"bottom", "a", "b"}
    inside = invertible.tap_added(weighted, "b")
    assert inside.params == {**weighted.params, "b": ()}
    with pytest.raises(ValueError, match=r"to no Orthogonal$"):
        invertible.tap_added(invertible.mixing(2, rngs=nnx.Rngs(0)), "b")


def test_one_channel_cannot_be_halved():
    with pytest.raises(ValueError, match="^couplings need at least 2 channels to halve, got 1$"):
        couplings(1, 2)


def test_a_branch_of_one_s_own(check_layer):
    layer = invertible.chain(
        halve=invertible.Weighted(invertible.reversible.Halve(), ()),
        coupling=invertible.coupling(Branch(2)),
    )
    check_layer(*layer, random((1, 2, 1, 2, 4)))


@pytest.mark.parametrize(
    ("name", "module", "advice"),
    [
        ("norm", lambda: nnx.BatchNorm(2, rngs=nnx.Rngs(0)), "Use GroupNorm instead of batch"),
        ("noise", lambda: nnx.Dropout(0.5, rngs=nnx.Rngs(0)), "draw dropout masks from the key"),
    ],
)
def test_state_in_a_branch_is_refused(name, module, advice):
    branch = Branch(2, **{name: module()})
    for refuse in (refuse_state, invertible.coupling):
        with pytest.raises(ValueError, match=advice) as caught:
            refuse(branch)
        sentence = str(caught.value)
        assert sentence.startswith("Branch holds ") and f"'{name}." in sentence
        assert "evaluated again in the backward pass" in sentence and "\n" not in sentence


def test_parameters_alone_are_accepted():
    for branch in (
        Branch(2, norm=nnx.GroupNorm(2, 1, rngs=nnx.Rngs(0))),
        Branch(2, noise=nnx.Dropout(0.5)),
        ResidualBranch(2, 3, dropout=0.5, rngs=nnx.Rngs(0)),
    ):
        assert invertible.coupling(branch).params is branch
