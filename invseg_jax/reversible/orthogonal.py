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
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from invseg_jax.reversible.arithmetic import FLOAT, Arithmetic, Float
from invseg_jax.reversible.barrier import materialize
from invseg_jax.reversible.chain import Chain
from invseg_jax.reversible.composition import Inverse
from invseg_jax.reversible.layer import Array, Layer, Params, PyTree, Stream, Taps
from invseg_jax.reversible.squeeze import Factor, Squeeze

# By default, accelerators multiply float32 in fewer bits (TF32, bfloat16): x Q Q^-1 would be off x
# by a thousandth. These products are small beside the convolutions.
_product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)

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


def rotation(turns: Turns, *, inverse: bool = False) -> Array:
    """The orthogonal matrices Q that the turns make, y = x Q, or Q^-1: (groups, size, size)."""
    groups, first, second = turns[0].shape
    size = first + second
    identity = jnp.broadcast_to(jnp.eye(size, dtype=turns[0].dtype), (groups, size, size))
    return _lift(FLOAT, _shears(turns), identity, _product, inverse=inverse)


@dataclass(frozen=True)
class Orthogonal(Layer):
    """Turns groups of channels, each by an orthogonal matrix of its own.

        forward   y_g = x_g Q_g
        inverse   x_g = y_g Q_g^-1
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

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """(..., groups * size) -> (..., groups * size)."""
        return self._turned(params, x), {}

    def inverse(self, params: Params, y: Stream, key: Array | None = None) -> Stream:
        """Multiplies by the inverse matrices, or shears back."""
        return self._turned(params, y, inverse=True)

    def pullback(
        self, params: Params, y: Stream, dy: Stream, dtaps: Taps, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """The gradient is that of the product: shears round the stream, not its derivative."""
        del dtaps
        return self._pulled(params, y, dy, inverse=False)

    def inverse_pullback(
        self, params: Params, x: Stream, dx: Stream, key: Array | None = None
    ) -> tuple[Stream, Stream, Params]:
        """As `pullback`, of the inverse matrices."""
        return self._pulled(params, x, dx, inverse=True)

    def own_arithmetic(self) -> Arithmetic:
        """That of the shears, or of the product."""
        return self.arithmetic

    def _pulled(
        self, params: Params, y: Stream, dy: Stream, *, inverse: bool
    ) -> tuple[Stream, Stream, Params]:
        q, transpose = jax.vjp(lambda params: rotation(self.turns(params), inverse=inverse), params)
        x = self._turned(params, y, inverse=not inverse, after=dy)
        q_transposed = jnp.swapaxes(q, -1, -2)
        dx = jax.tree.map(lambda dy: self._multiplied(dy, q_transposed, after=x), dy)
        (x_array,), (dy_array,) = jax.tree.leaves(x), jax.tree.leaves(dy)
        gram = _gram(self.arithmetic.decode(x_array), dy_array, groups=q.shape[0])
        return x, dx, transpose(gram)[0]

    def _turned(
        self, params: Params, x: Stream, *, inverse: bool = False, after: PyTree = None
    ) -> Stream:
        turns = self.turns(params)
        if isinstance(self.arithmetic, Float):
            q = rotation(turns, inverse=inverse)
            return jax.tree.map(lambda x: self._multiplied(x, q, after=after), x)
        return jax.tree.map(lambda x: self._sheared(turns, x, inverse=inverse, after=after), x)

    def _multiplied(self, x: Array, q: Array, *, after: PyTree = None) -> Array:
        _check(x, q.shape[0], q.shape[1])
        # As a product with a block-diagonal matrix: many small ones take longer.
        blocks = _block_diagonal(q)
        if after is None:
            return _mix(x, blocks)
        return materialize(lambda x: _mix(x, blocks), x, after=after)

    def _sheared(self, turns: Turns, x: Array, *, inverse: bool, after: PyTree) -> Array:
        groups, first, second = turns[0].shape
        _check(x, groups, first + second)

        # Made once, not for each plane.
        shears = [(_block_diagonal(back), _block_diagonal(sine)) for back, sine in _shears(turns)]

        def product(x: Array, blocks: Array) -> Array:
            return _product(x.reshape(x.shape[0], -1), blocks).reshape(*x.shape[:2], -1)

        def shear(x: Array) -> Array:
            grouped = x.reshape(-1, groups, first + second)
            lifted = _lift(self.arithmetic, shears, grouped, product, inverse=inverse)
            return lifted.reshape(x.shape)

        # In both directions alike, and where JAX differentiates it: a product of other shape could
        # round differently.
        return materialize(shear, x, after=after)


def _shears(turns: Turns) -> list[tuple[Array, Array]]:
    """-K^T and S^T of each turn: what rows of b and of a are multiplied by."""
    if len({k.shape for k in turns}) == 1:
        # In one call: many small ones take longer to start than to do.
        sines = list(_sine(jnp.stack(turns)))
    else:
        sines = [_sine(k) for k in turns]
    pairs = zip(turns, sines, strict=True)
    return [(-jnp.swapaxes(k, -1, -2), jnp.swapaxes(sine, -1, -2)) for k, sine in pairs]


def _sine(k: Array) -> Array:
    """S = 2 (I + K^T K)^-1 K^T.

    By Newton's iteration X <- X (2 I - A X), from 2 / (1 + bound of A) I: A's eigenvalues lie
    between 1 and 1 + |K|^2, and 14 steps give float32's precision up to |K|^2 = 2000. A step done
    from the solution, whose derivative alone is taken, has the derivative of the inverse. (The
    factorisations of LAPACK wait for each other for ever when two of a program run at once on two
    cores.) Were S inexact, the turn would be so little off an orthogonal one, and still invertible.
    """
    k_transposed = jnp.swapaxes(k, -1, -2)
    identity = jnp.eye(k.shape[-1], dtype=k.dtype)
    identity = jnp.broadcast_to(identity, (*k.shape[:-2], *identity.shape))
    a = identity + _product(k_transposed, k)

    def step(a: Array, x: Array) -> Array:
        return _product(x, 2.0 * identity - _product(a, x))

    fixed = lax.stop_gradient(a)
    bound = 1.0 + jnp.square(lax.stop_gradient(k)).sum(axis=(-2, -1), keepdims=True)
    start = identity * (2.0 / (1.0 + bound))
    inverse = lax.fori_loop(0, 14, lambda _, x: step(fixed, x), start)
    return _product(2.0 * step(a, inverse), k_transposed)


def _lift(
    arithmetic: Arithmetic,
    shears: Sequence[tuple[Array, Array]],
    x: Array,
    product: Callable[[Array, Array], Array],
    *,
    inverse: bool = False,
) -> Array:
    """Turns the last axis of x, or turns it back: the same shears in reverse, subtracted."""
    change = arithmetic.subtract if inverse else arithmetic.add
    numbered = list(enumerate(shears))
    for i, (back, sine) in reversed(numbered) if inverse else numbered:
        first, second = partition(x.shape[-1], i)
        a, b = _take(x, first), _take(x, second)
        a = change(a, product(arithmetic.decode(b), back))
        b = change(b, product(arithmetic.decode(a), sine))
        a = change(a, product(arithmetic.decode(b), back))
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


def _block_diagonal(matrices: Array) -> Array:
    """(groups, i, j) -> (groups * i, groups * j)."""
    groups, i, j = matrices.shape
    apart = jnp.eye(groups, dtype=matrices.dtype).reshape(groups, 1, groups, 1)
    return (matrices[:, :, None] * apart).reshape(groups * i, groups * j)


def _check(x: Array, groups: int, size: int) -> None:
    if x.shape[-1] != groups * size:
        raise ValueError(
            f"orthogonal: {x.shape[-1]} channels, but {groups} matrices of size {size}"
        )


def _mix(x: Array, blocks: Array) -> Array:
    return _product(x.reshape(-1, x.shape[-1]), blocks).reshape(x.shape)


def _gram(x: Array, dy: Array, groups: int) -> Array:
    """X_g^T dy_g, (groups, size, size): the blocks on the diagonal of the product of all."""
    channels = x.shape[-1]
    size = channels // groups
    product = _product(x.reshape(-1, channels).T, dy.reshape(-1, channels))
    blocks = product.reshape(groups, size, groups, size)
    return jnp.moveaxis(jnp.diagonal(blocks, axis1=0, axis2=2), -1, 0)


def learned_down(
    turns: Callable[[Params], Turns], factor: Factor = 2, arithmetic: Arithmetic = FLOAT
) -> Layer:
    """Invertible down-sampling: squeeze, then one orthogonal matrix per input channel.

        (n, d, h, w, c) -> (n, d/a, h/b, w/e, c*a*b*e), and likewise of one and two axes of space

    Its params are `{"squeeze": (), "rotation": params of turns}`, of c groups of a*b*e channels.
    """
    return Chain((Squeeze(factor), Orthogonal(turns, arithmetic)), ("squeeze", "rotation"))


def learned_up(
    turns: Callable[[Params], Turns], factor: Factor = 2, arithmetic: Arithmetic = FLOAT
) -> Layer:
    """Invertible up-sampling: one orthogonal matrix per output channel, then unsqueeze.

    Its params are `{"rotation": params of turns, "unsqueeze": ()}`, of c groups of a*b*e channels.
    """
    unsqueeze = Inverse(Squeeze(factor))
    return Chain((Orthogonal(turns, arithmetic), unsqueeze), ("rotation", "unsqueeze"))
