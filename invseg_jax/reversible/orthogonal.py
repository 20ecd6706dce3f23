"""Learned rotations of channels, as products of shears, and with squeeze, learned resampling.

A matrix product cannot be undone exactly in fixed point; a shear, which adds a function of some
channels to the others, can. So the orthogonal matrices here are made of shears to begin with:

    a <- a - K b,   b <- b + S a,   a <- a - K b,      S = 2 (I + K^T K)^-1 K^T

turns the two parts a and b of the channels by the orthogonal matrix that is the Cayley transform of
[[0, K], [-K^T, 0]] (Etmann et al. 2020, section 4, take a full skew matrix). For single numbers it
is the rotation by three shears of Paeth 1986, with K = tan(angle / 2) and S = sin(angle); K = 0
is the identity, and no K is singular. Several turns in a row, each with another partition of the
channels, reach what one alone does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from invseg_jax.reversible.arithmetic import FLOAT, Arithmetic, Float
from invseg_jax.reversible.composition import Chain, Inverse
from invseg_jax.reversible.layer import Array, Layer, Params, Taps
from invseg_jax.reversible.squeeze import Factor, Squeeze

Turns = Sequence[Array]
Part = tuple[int, ...]


def partition(size: int, turn: int) -> tuple[Part, Part]:
    """The two parts of `size` channels that turn number `turn` works on.

    Turn 0 halves the channels, turn 1 halves the halves, and so on: with 8 channels from a squeeze
    these are the parts in front and behind, above and below, left and right.
    """
    stride = max(1, -(-size // 2 ** (turn + 1)))
    first = tuple(i for i in range(size) if i // stride % 2 == 0)
    return first, tuple(i for i in range(size) if i // stride % 2)


def rotation(turns: Turns) -> Array:
    """The orthogonal matrices Q that the turns make, y = x Q: (groups, size, size)."""
    groups, first, second = turns[0].shape
    size = first + second
    identity = jnp.broadcast_to(jnp.eye(size, dtype=turns[0].dtype), (groups, size, size))
    return _lift(FLOAT, turns, identity, lambda x, k: jnp.einsum("gvi,gij->gvj", x, k))


@dataclass(frozen=True)
class Orthogonal(Layer):
    """Turns groups of channels, each by an orthogonal matrix of its own.

        forward   y_g = x_g Q_g
        inverse   x_g = y_g Q_g^T
        pullback  dx_g = dy_g Q_g^T,   dQ_g = x_g^T dy_g

    With one group it is an invertible 1x1x1 convolution; after a squeeze, with one group per
    channel, it is the learned down-sampling of iUNets (kernel = stride). In float32 the turns are
    multiplied out to Q; in fixed point they are done one shear after the other.

    Attributes:
        turns: called as `turns(params)`; the matrices K of each turn, (groups, first, second), with
            as many rows and columns as `partition` gives channels.
        arithmetic: of the stream.
    """

    turns: Callable[[Params], Turns]
    arithmetic: Arithmetic = FLOAT

    def forward(self, params: Params, x: Array, key: Array | None = None) -> tuple[Array, Taps]:
        """(..., groups * size) -> (..., groups * size)."""
        turns = self.turns(params)
        if isinstance(self.arithmetic, Float):
            return _mix(x, rotation(turns)), {}
        return self._sheared(turns, x, inverse=False), {}

    def inverse(self, params: Params, y: Array, key: Array | None = None) -> Array:
        """Multiplies by the transposes, or shears back."""
        turns = self.turns(params)
        if isinstance(self.arithmetic, Float):
            return _mix(y, jnp.swapaxes(rotation(turns), -1, -2))
        return self._sheared(turns, y, inverse=True)

    def pullback(
        self, params: Params, y: Array, dy: Array, dtaps: Taps, key: Array | None = None
    ) -> tuple[Array, Array, Params]:
        """The gradient is that of the product: shears round the stream, not its derivative."""
        del dtaps
        q, transpose = jax.vjp(lambda params: rotation(self.turns(params)), params)
        q_transposed = jnp.swapaxes(q, -1, -2)
        x = self.inverse(params, y)
        dx = _mix(dy, q_transposed)
        (dparams,) = transpose(_gram(self.arithmetic.decode(x), dy, groups=q.shape[0]))
        return x, dx, dparams

    def _sheared(self, turns: Turns, x: Array, *, inverse: bool) -> Array:
        groups, first, second = turns[0].shape
        _check(x, groups, first + second)
        shape, x = x.shape, _grouped(x, groups)
        return _lift(self.arithmetic, turns, x, _product, inverse=inverse).reshape(shape)


def _lift(
    arithmetic: Arithmetic,
    turns: Turns,
    x: Array,
    product: Callable[[Array, Array], Array],
    *,
    inverse: bool = False,
) -> Array:
    """Turns the last axis of x, or turns it back: the same shears in reverse, subtracted."""
    change = arithmetic.subtract if inverse else arithmetic.add
    numbered = list(enumerate(turns))
    for i, k in reversed(numbered) if inverse else numbered:
        first, second = partition(x.shape[-1], i)
        a, b = _take(x, first), _take(x, second)
        k_transposed = jnp.swapaxes(k, -1, -2)
        identity = jnp.eye(k.shape[-1], dtype=k.dtype)[None]
        sine = 2.0 * jnp.linalg.solve(identity + k_transposed @ k, k_transposed)
        sine_transposed = jnp.swapaxes(sine, -1, -2)
        a = change(a, product(arithmetic.decode(b), -k_transposed))
        b = change(b, product(arithmetic.decode(a), sine_transposed))
        a = change(a, product(arithmetic.decode(b), -k_transposed))
        places = sorted(range(x.shape[-1]), key=lambda place, order=first + second: order[place])
        x = _take(jnp.concatenate((a, b), axis=-1), tuple(places))
    return x


def _take(x: Array, places: Part) -> Array:
    """The given places of the last axis, as slices: gathers are slow."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([place, place + 1])
    parts = [x[..., begin:end] for begin, end in runs]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=-1)


def _product(x: Array, matrices: Array) -> Array:
    """(voxels, groups, i), (groups, i, j) -> (voxels, groups, j).

    As one product with a block-diagonal matrix: many small ones take longer.
    """
    voxels, groups, _ = x.shape
    _, i, j = matrices.shape
    apart = jnp.eye(groups, dtype=matrices.dtype).reshape(groups, 1, groups, 1)
    blocks = (matrices[:, :, None] * apart).reshape(groups * i, groups * j)
    return (x.reshape(voxels, groups * i) @ blocks).reshape(voxels, groups, j)


def _grouped(x: Array, groups: int) -> Array:
    return x.reshape(-1, groups, x.shape[-1] // groups)


def _check(x: Array, groups: int, size: int) -> None:
    if x.shape[-1] != groups * size:
        raise ValueError(
            f"orthogonal: {x.shape[-1]} channels, but {groups} matrices of size {size}"
        )


def _mix(x: Array, q: Array) -> Array:
    groups, size, _ = q.shape
    _check(x, groups, size)
    return _product(_grouped(x, groups), q).reshape(x.shape)


def _gram(x: Array, dy: Array, groups: int) -> Array:
    if groups == 1:
        size = x.shape[-1]
        return (x.reshape(-1, size).T @ dy.reshape(-1, size))[None]
    return jnp.einsum("vgi,vgj->gij", _grouped(x, groups), _grouped(dy, groups))


def learned_down(
    turns: Callable[[Params], Turns],
    factor: Factor = (2, 2, 2),
    arithmetic: Arithmetic = FLOAT,
) -> Layer:
    """Invertible down-sampling: squeeze, then one orthogonal matrix per input channel.

        (n, d, h, w, c) -> (n, d/a, h/b, w/e, c*a*b*e)

    Its params are `((), params of turns)`, of c groups of a*b*e channels.
    """
    return Chain((Squeeze(factor), Orthogonal(turns, arithmetic)))


def learned_up(
    turns: Callable[[Params], Turns],
    factor: Factor = (2, 2, 2),
    arithmetic: Arithmetic = FLOAT,
) -> Layer:
    """Invertible up-sampling: one orthogonal matrix per output channel, then unsqueeze.

    Its params are `(params of turns, ())`, of c groups of a*b*e channels.
    """
    return Chain((Orthogonal(turns, arithmetic), Inverse(Squeeze(factor))))
