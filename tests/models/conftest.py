"""What the tests of the reversible networks share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.layers.execution import Execution


def pull(model, x, key=None):
    """All outputs, and the gradients of a function of all of them: parameters, input."""

    def outputs(model, x):
        return tuple(model.outputs(x, key))

    y, transpose = jax.vjp(outputs, model, x)
    dmodel, dx = transpose(jax.tree.map(jnp.cos, y))
    return y, nnx.to_pure_dict(nnx.state(dmodel)), dx


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in jax.tree.leaves(tree)])


@pytest.fixture(scope="session")
def check_gradients(assert_close: Callable[..., None]) -> Callable[..., None]:
    """Asserts that a network has the same outputs and gradients as reversible and as plain.

    To 1e-5 of each tensor's largest value; with `whole`, for shapes that come as they may, to 1e-5
    of the norm of the outputs, of the gradient of all parameters, and of that of the input: at a
    level of one voxel, a tensor of four numbers can be the rest of much larger ones that cancel.
    Each tensor is then held to 1e-4 of its largest value, so that a wrong small one does not hide.
    """

    def check(network: Callable[..., Any], x, key, *, whole: bool = False, **settings) -> None:
        call = jax.jit(pull)
        plain = call(network(execution=Execution(memory="plain"), **settings), x, key)
        reversible = call(network(execution=Execution(memory="reversible"), **settings), x, key)
        if not whole:
            assert_close(reversible, plain)
            return
        assert_close(reversible, plain, relative=1e-4, least=1e-2)
        for got, want in zip(reversible, plain, strict=True):
            assert np.linalg.norm(flat(got) - flat(want)) <= 1e-5 * np.linalg.norm(flat(want))

    return check
