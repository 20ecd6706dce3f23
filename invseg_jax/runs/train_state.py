"""What a training changes from step to step, and what its checkpoints keep."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from invseg_jax.reversible.layer import Array, Params, PyTree


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a step changes, and that a checkpoint keeps.

    Attributes:
        step: steps taken, an int32 scalar.
        params: the network's parameters (a Flax state).
        averaged: their exponential moving average; evaluation and prediction use it.
        optimiser: the optimiser's state.
        key: the run's random key; a step folds its number into it.
    """

    step: Array
    params: Params
    averaged: Params
    optimiser: PyTree
    key: Array


@jax.jit
def finite_parts(state: TrainState) -> dict[str, Array]:
    """Whether all numbers of the state are finite, by part: `params`, `averaged`, `optimiser`."""

    def finite(tree: PyTree) -> Array:
        floats = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(a.dtype, jnp.inexact)]
        each = [jnp.all(jnp.isfinite(a)) for a in floats]
        return jnp.all(jnp.stack([jnp.asarray(True), *each]))

    parts = ("params", "averaged", "optimiser")
    return {name: finite(getattr(state, name)) for name in parts}
