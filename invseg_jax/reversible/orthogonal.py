"""Learned volume-preserving mixing of channels, and with squeeze, learned resampling."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from invseg_jax.reversible.composition import Chain, Inverse
from invseg_jax.reversible.layer import Array, Layer, Params, Taps
from invseg_jax.reversible.squeeze import Factor, Squeeze


def cayley(weights: Array) -> Array:
    """The orthogonal matrix of an unconstrained one, by the Cayley transform.

        A = W - W^T,   Q = (I + A)^-1 (I - A),   Q^T Q = I

    W = 0 gives the identity. Every orthogonal matrix without the eigenvalue -1 is reached
    (Etmann et al. 2020, section 4).

    Args:
        weights: W, of shape (..., m, m).

    Returns:
        Q, of the same shape.
    """
    skew = weights - jnp.swapaxes(weights, -1, -2)
    identity = jnp.broadcast_to(jnp.eye(skew.shape[-1], dtype=skew.dtype), skew.shape)
    return jnp.linalg.solve(identity + skew, identity - skew)


@dataclass(frozen=True)
class Orthogonal(Layer):
    """Multiplies groups of channels by orthogonal matrices.

        forward   y_g = x_g Q_g
        inverse   x_g = y_g Q_g^T
        pullback  dx_g = dy_g Q_g^T,   dQ_g = x_g^T dy_g

    With one group it is an invertible 1x1x1 convolution; after a squeeze, with one group per
    channel, it is the learned down-sampling of iUNets (kernel = stride).

    Attributes:
        matrices: called as `matrices(params)`; Q of shape (groups, m, m) with groups * m channels.
    """

    matrices: Callable[[Params], Array]

    def forward(self, params: Params, x: Array, key: Array | None = None) -> tuple[Array, Taps]:
        """(..., g*m) -> (..., g*m)."""
        return _mix(x, self.matrices(params)), {}

    def inverse(self, params: Params, y: Array, key: Array | None = None) -> Array:
        """Multiplies by the transposes."""
        return _mix(y, jnp.swapaxes(self.matrices(params), -1, -2))

    def pullback(
        self, params: Params, y: Array, dy: Array, dtaps: Taps, key: Array | None = None
    ) -> tuple[Array, Array, Params]:
        """One evaluation of the matrices serves the inverse and both gradients."""
        del dtaps
        q, transpose = jax.vjp(self.matrices, params)
        q_transposed = jnp.swapaxes(q, -1, -2)
        x, dx = _mix(y, q_transposed), _mix(dy, q_transposed)
        (dparams,) = transpose(_gram(x, dy, groups=q.shape[0]))
        return x, dx, dparams


def _grouped(x: Array, groups: int) -> Array:
    return x.reshape(-1, groups, x.shape[-1] // groups)


def _mix(x: Array, q: Array) -> Array:
    groups, m, _ = q.shape
    if x.shape[-1] != groups * m:
        raise ValueError(f"orthogonal: {x.shape[-1]} channels, but {groups} matrices of size {m}")
    if groups == 1:
        return (x.reshape(-1, m) @ q[0]).reshape(x.shape)
    return jnp.einsum("vgi,gij->vgj", _grouped(x, groups), q).reshape(x.shape)


def _gram(x: Array, dy: Array, groups: int) -> Array:
    if groups == 1:
        m = x.shape[-1]
        return (x.reshape(-1, m).T @ dy.reshape(-1, m))[None]
    return jnp.einsum("vgi,vgj->gij", _grouped(x, groups), _grouped(dy, groups))


def learned_down(matrices: Callable[[Params], Array], factor: Factor = (2, 2, 2)) -> Layer:
    """Invertible down-sampling: squeeze, then one orthogonal matrix per input channel.

        (n, d, h, w, c) -> (n, d/a, h/b, w/e, c*a*b*e)

    Its params are `((), params of matrices)`; `matrices` gives shape (c, a*b*e, a*b*e).
    """
    return Chain((Squeeze(factor), Orthogonal(matrices)))


def learned_up(matrices: Callable[[Params], Array], factor: Factor = (2, 2, 2)) -> Layer:
    """Invertible up-sampling: one orthogonal matrix per output channel, then unsqueeze.

    Its params are `(params of matrices, ())`; `matrices` gives shape (c, a*b*e, a*b*e).
    """
    return Chain((Orthogonal(matrices), Inverse(Squeeze(factor))))
