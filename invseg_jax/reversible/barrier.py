"""An optimisation barrier that CPUs heed too."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from invseg_jax.reversible.layer import Array, PyTree


def materialize(function: Callable[..., PyTree], *arrays: Array, after: PyTree = ()) -> PyTree:
    """`function(*arrays)`, in arrays of its own from here on, and not before `after` is there.

    A compiler that takes a half of an array, or joins two, for free, does so again at each place
    that reads it, and keeps the original alive until the last; and it begins early what it can. XLA
    drops `optimization_barrier` on CPUs before it fuses. There loops make the results, one after
    the other, plane by plane; no later pass looks through them.

    Args:
        function: what it gives for a plane across the depth depends on that plane alone.
        arrays: (n, d, ...), its arguments.
        after: a tree of arrays.

    Returns:
        A tree of arrays (n, d, ...).
    """
    return lax.platform_dependent(
        arrays, after, cpu=partial(_by_planes, function), default=partial(_tied, function)
    )


def _tied(function: Callable[..., PyTree], arrays: tuple[Array, ...], after: PyTree) -> PyTree:
    return lax.optimization_barrier((function(*arrays), after))[0]


def _by_planes(function: Callable[..., PyTree], arrays: tuple[Array, ...], after: PyTree) -> PyTree:
    shapes, structure = jax.tree.flatten(jax.eval_shape(function, *arrays))
    if any(shape.ndim < 2 or shape.shape[1] < 2 for shape in shapes):
        return function(*arrays)
    before, results = jax.tree.leaves(after), []
    # The last first: a coupling can begin when it has the first half, and should not earlier.
    for k in reversed(range(len(shapes))):
        before = [_loop(lambda *a, k=k: jax.tree.leaves(function(*a))[k], arrays, before)]
        results += before
    return jax.tree.unflatten(structure, results[::-1])


def delay(x: Array, after: PyTree) -> Array:
    """`x`, (n, ...), but what is computed from it waits for the last array (n, ...) of a tree.

    Example by example: a number of one for all would have to be sent around where the examples are
    spread over devices.
    """
    leaves = jax.tree.leaves(after)
    if not leaves:
        return x
    first = leaves[-1][(slice(None), *(0,) * (leaves[-1].ndim - 1))]
    # Never, but no compiler knows.
    never = (first.astype(jnp.float32) > jnp.inf).reshape(-1, *(1,) * (x.ndim - 1))
    return jnp.where(never, jnp.zeros_like(x), x)


def _loop(function: Callable[..., Array], arrays: tuple[Array, ...], after: list[Array]) -> Array:
    # Along the depth: the first axis, the batch, can be spread over devices.
    def plane(i: Array | int) -> Array:
        return function(*(lax.dynamic_slice_in_dim(x, i, 1, axis=1) for x in arrays))

    def add_plane(i: Array, result: Array) -> Array:
        return lax.dynamic_update_slice_in_dim(result, plane(i), i, axis=1)

    # The first plane starts the result: what depends on nothing is set up at the program's start.
    depth, first = arrays[0].shape[1], delay(plane(0), after)
    behind = [(0, 0), (0, depth - 1), *[(0, 0)] * (first.ndim - 2)]
    return lax.fori_loop(1, depth, add_plane, jnp.pad(first, behind))
