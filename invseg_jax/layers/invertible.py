"""Invertible layers with weights: an algebra layer and the Flax modules that are its parameters.

`reversible` takes parameters as pytrees and functions of them. Here the parameters are Flax modules
themselves, which are pytrees, and the functions call them.
"""

from collections.abc import Collection
from typing import NamedTuple

import jax
from flax import nnx

from invseg_jax import reversible
from invseg_jax.layers.branch import ResidualBranch
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.initial import normal, stacked
from invseg_jax.reversible.layer import Array, Params, Taps


class Weighted(NamedTuple):
    """An algebra layer together with its parameters, of the nesting that the layer wants."""

    layer: reversible.Layer
    params: Params


def _call(module, x: Array, key: Array | None) -> Array:
    return module(x, key)


_IN_PLACE = reversible.InPlace(
    lambda module, x, key, into: module.accumulate(x, key, into),
    lambda module, x, key, into, df: module.pullback(x, key, into, df),
)


def refuse_state(branch: nnx.Module) -> None:
    """Checks that a branch holds nothing but parameters.

    Raises:
        ValueError: it holds other state, which the second evaluation in the backward pass would
            change once more, or draw anew.
    """
    others = nnx.to_flat_state(nnx.state(branch, nnx.Not(nnx.Param)))
    if others:
        path, variable = next(iter(others))
        name = ".".join(map(str, path))
        raise ValueError(
            f"{type(branch).__name__} holds {type(variable).__name__} '{name}': a branch of a "
            "reversible layer is evaluated again in the backward pass and may hold parameters "
            "only. Use GroupNorm instead of batch statistics, and draw dropout masks from the key "
            "that the branch is called with instead of a random stream of its own."
        )


def coupling(branch: nnx.Module, execution: Execution = Execution()) -> Weighted:
    """An additive coupling whose F is a Flax module, called as `branch(x, key)`.

    A module with `accumulate(x, key, into)` and `pullback(x, key, into, df)` is evaluated in the
    stream's place where JAX does not differentiate it (`reversible.InPlace`).

    Raises:
        ValueError: the branch holds state other than parameters.
    """
    refuse_state(branch)
    in_place = execution.memory == "reversible" and hasattr(branch, "accumulate")
    layer = reversible.AdditiveCoupling(
        _call, execution.arithmetic, _IN_PLACE if in_place else None
    )
    return Weighted(layer, branch)


def couplings(
    features: int,
    count: int,
    *,
    dims: int = 3,
    convolutions: int,
    groups: int,
    dropout: float = 0.0,
    scale: float = 1.0,
    execution: Execution = Execution(),
    rngs: nnx.Rngs,
) -> Weighted:
    """Halve, `count` additive couplings with residual branches, and join again.

    (n, d, h, w, features) -> (n, d, h, w, features); with fewer dims of images (n, h, w, features)
    or sequences (n, l, features).

    Raises:
        ValueError: fewer than two channels, which cannot be halved.
    """
    if features < 2:
        raise ValueError(f"couplings need at least 2 channels to halve, got {features}")
    first, second = features - features // 2, features // 2
    chained = []
    for _ in range(count):
        branch = ResidualBranch(
            second,
            first,
            dims=dims,
            convolutions=convolutions,
            groups=groups,
            dropout=dropout,
            scale=scale,
            execution=execution,
            rngs=rngs,
        )
        chained.append(coupling(branch, execution))
        first, second = second, first
    if first == second and chained:
        layer = reversible.Repeat(chained[0].layer, count, scan=execution.loop == "scan")
        middle = Weighted(layer, jax.tree.map(stacked, *(part.params for part in chained)))
    else:
        middle = Weighted(
            reversible.Chain(tuple(part.layer for part in chained)),
            tuple(part.params for part in chained),
        )
    # An odd number of couplings leaves the halves of an odd number of channels exchanged.
    join = Weighted(reversible.Join(first), ())
    return chain(halve=Weighted(reversible.Halve(), ()), branches=middle, join=join)


class Orthogonal(nnx.Module):
    """The free weights of orthogonal matrices: K of each turn (`reversible.orthogonal`)."""

    def __init__(
        self, groups: int, size: int, *, turns: int, deviation: float = 0.0, rngs: nnx.Rngs
    ):
        """Starts `groups` matrices of `size` channels at the identity, or `deviation` away."""
        parts = [reversible.partition(size, turn) for turn in range(turns)]
        self.turns = nnx.List(
            [
                nnx.Param(normal(rngs, (groups, len(first), len(second)), deviation))
                for first, second in parts
            ]
        )


def _turns(module: Orthogonal) -> list[Array]:
    return [turn[...] for turn in module.turns]


def mixing(features: int, *, execution: Execution = Execution(), rngs: nnx.Rngs) -> Weighted:
    """Invertible 1x1x1 convolution: one orthogonal matrix over all channels, of two turns."""
    weights = Orthogonal(1, features, turns=2, deviation=features**-0.5, rngs=rngs)
    return Weighted(reversible.Orthogonal(_turns, execution.arithmetic), weights)


def down(
    features: int, *, dims: int = 3, execution: Execution = Execution(), rngs: nnx.Rngs
) -> Weighted:
    """Learned invertible down-sampling: features -> 2^dims * features channels, half the size.

    One turn along each of the `dims` axes of space.
    """
    weights = _resampling(features, dims, rngs)
    layer = reversible.learned_down(_turns, arithmetic=execution.arithmetic)
    return Weighted(layer, {"squeeze": (), "rotation": weights})


def up(
    features: int, *, dims: int = 3, execution: Execution = Execution(), rngs: nnx.Rngs
) -> Weighted:
    """Learned invertible up-sampling: 2^dims * features -> features channels, twice the size."""
    weights = _resampling(features, dims, rngs)
    layer = reversible.learned_up(_turns, arithmetic=execution.arithmetic)
    return Weighted(layer, {"rotation": weights, "unsqueeze": ()})


def _resampling(features: int, dims: int, rngs: nnx.Rngs) -> Orthogonal:
    return Orthogonal(features, 2**dims, turns=dims, deviation=0.1, rngs=rngs)


def tapped(weighted: Weighted, name: str) -> Weighted:
    """A chain of the layer and a tap: the layer's parameters keep their names, as a part its key.

    (A chain gives each part a random key of its own.)
    """
    layer = reversible.Tapped(weighted.layer, (reversible.Tap(name),))
    return Weighted(layer, weighted.params)


def tap_added(weighted: Weighted, name: str) -> Weighted:
    """A chain with a tap more at its end: its parameters keep their names, its layers their keys.

    Raises:
        ValueError: it is no chain.
    """
    (layer, params), tap = weighted, reversible.Tap(name)
    if isinstance(layer, reversible.Tapped):
        return Weighted(reversible.Tapped(layer.layer, (*layer.taps, tap)), params)
    if isinstance(layer, reversible.Chain) and layer.names is not None:
        layer = reversible.Chain((*layer.layers, tap), (*layer.names, name))
        return Weighted(layer, {**params, name: ()})
    raise ValueError(f"a tap is added to a chain with names, and to no {type(layer).__name__}")


def chain(**parts: Weighted) -> Weighted:
    """Weighted layers in a row, by name; parameters have the same names."""
    layers = tuple(part.layer for part in parts.values())
    params = {name: part.params for name, part in parts.items()}
    return Weighted(reversible.Chain(layers, tuple(parts)), params)


def u(
    contracting: Weighted,
    skip: int,
    down: Weighted,
    inner: Weighted,
    up: Weighted,
    expanding: Weighted,
) -> Weighted:
    """One level of a bijective U around the coarser ones (`reversible.u_shape`)."""
    level = reversible.Level(contracting.layer, skip, down.layer, up.layer, expanding.layer)
    return Weighted(
        reversible.u_shape([level], inner.layer),
        {
            "contracting": contracting.params,
            "deeper": {"down": down.params, "inner": inner.params, "up": up.params},
            "expanding": expanding.params,
        },
    )


class Trunk(nnx.Module):
    """The module around an invertible composition: one gradient rule for all of it."""

    def __init__(self, weighted: Weighted, *, execution: Execution = Execution()):
        """Takes the composition and how it is evaluated.

        Raises:
            ValueError: the layers were not built for that execution's arithmetic.
        """
        found = {part.own_arithmetic() for part in reversible.each(weighted.layer)}
        others = found - {None, execution.arithmetic}
        if others:
            raise ValueError(f"layers of {others.pop()} in a trunk of {execution.arithmetic}")
        self.layer = weighted.layer
        self.params: Params = nnx.data(weighted.params)
        self.execution = execution

    def __call__(
        self, x: Array, key: Array | None = None, *, taps: Collection[str] | None = None
    ) -> tuple[Array, Taps]:
        """(n, d, h, w, c) -> (n, d, h, w, c), and the taps by name.

        Or images (n, h, w, c), or sequences (n, l, c), of as many axes as the layers are built for.

        Args:
            x: the input.
            key: for dropout.
            taps: names of the taps to let out; None: all.
        """
        memory = self.execution.memory
        return reversible.run(self.layer, self.params, x, key, memory=memory, taps=taps)

    def inverse(self, y: Array, key: Array | None = None) -> Array:
        """The input that gives y."""
        return reversible.invert(self.layer, self.params, y, key)
