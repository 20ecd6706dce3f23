from dataclasses import replace

import jax.numpy as jnp
import pytest
from flax import nnx

from invseg_jax.benchmarks.alternatives import Group, Way, groups_near_root
from invseg_jax.benchmarks.subjects import Subject
from invseg_jax.layers.execution import Execution

PLAIN = Way(Execution(memory="plain", loop="scan"))
WAYS = [
    replace(PLAIN, ordinary=True),
    replace(PLAIN, ordinary=True, group=Group(2, False)),
    replace(PLAIN, group=Group(2, True)),
    replace(PLAIN, ordinary=True, group=Group(4, True)),
    Way(Execution(memory="remat", loop="scan"), ordinary=True),
    Way(Execution(memory="remat", loop="scan"), ordinary=True, lax_conv=True),
]


def outcome(program):
    """The loss and its gradients."""
    compiled = program.lower().compile()
    loss, gradients = compiled(program.model, program.input())
    # The layers, which say how it is evaluated, are no part of the result.
    return loss, nnx.to_pure_dict(nnx.state(gradients[0])), *gradients[1:]


@pytest.mark.parametrize("way", WAYS)
def test_no_way_changes_a_gradient(assert_close, way):
    subject = Subject("chain", 3, (4,), 4)
    plain = outcome(subject.build(PLAIN))
    assert_close(outcome(subject.build(way)), plain, relative=1e-4)


@pytest.mark.slow
def test_no_way_changes_a_gradient_of_a_network(assert_close):
    subject = Subject("FullInvRes", 4, (4, 8), 2)
    plain = outcome(subject.build(PLAIN))
    way = replace(PLAIN, ordinary=True, group=Group(2, True))
    assert_close(outcome(subject.build(way)), plain, relative=1e-4)


def test_a_depth_that_is_not_groups_is_refused():
    with pytest.raises(ValueError, match="^3 couplings are not groups of 2"):
        Subject("chain", 3, (4,), 3).build(replace(PLAIN, group=Group(2, False))).lower()


@pytest.mark.parametrize(
    ("couplings", "sizes"),
    [(1, {1}), (2, {1, 2}), (8, {2, 4}), (9, {3, 1}), (13, {1, 13}), (30, {5, 6})],
)
def test_groups_near_the_root(couplings, sizes):
    groups = groups_near_root(couplings)
    assert {group.size for group in groups} == sizes
    assert len(set(groups)) == len(groups)
    # A group of one coupling needs no checkpoint inside.
    assert all(group.size > 1 for group in groups if group.inner)


def test_what_a_subject_is():
    chain = Subject("chain", 5, (6,), 3)
    program = chain.build(Way(Execution()))
    assert chain.activation == 4 * 5**3 * 6
    assert program.shape == (1, 5, 5, 5, 6) and program.of == (0, 1)
    x = program.input()
    assert x.shape == program.shape and x.dtype == jnp.float32 and 0.5 < x.std() < 1.5
    assert Subject("FullInvRes", 4, (4, 8), 1).build(Way(Execution())).shape == (1, 4, 4, 4, 1)
