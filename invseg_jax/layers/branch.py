"""The residual branch: what an additive coupling adds to the other half of the stream."""

import jax
import jax.numpy as jnp
from flax import nnx

from invseg_jax.layers.conv import Conv
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.norm import GroupNorm
from invseg_jax.layers.preactivation import (
    preactivated_conv,
    preactivated_conv_into,
    preactivated_conv_pullback,
)
from invseg_jax.reversible import Accumulator, Planes
from invseg_jax.reversible.layer import Array, Stream


def dropout_mask(examples: int, features: int, rate: float, key: Array | None) -> Array:
    """Spatial dropout: whole channels of an example are zeroed, the others scaled up.

    (examples, features) factors; ones without a key. The same key gives the same mask.
    """
    if rate == 0.0 or key is None:
        return jnp.ones((examples, features), jnp.float32)
    keep = jax.random.bernoulli(key, 1.0 - rate, (examples, features))
    return keep.astype(jnp.float32) / (1.0 - rate)


class ResidualBranch(nnx.Module):
    """Pre-activation branch: (GroupNorm, leaky ReLU 0.01, 3x3x3 convolution) one or more times.

    With one convolution it is the F and G of Brügger et al. 2019. Maps
    (n, d, h, w, features_in) to (n, d, h, w, features_out); or, with fewer dims, images
    (n, h, w, features_in) or sequences (n, l, features_in).
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        *,
        dims: int = 3,
        convolutions: int = 1,
        groups: int = 8,
        dropout: float = 0.0,
        scale: float = 1.0,
        execution: Execution = Execution(),
        rngs: nnx.Rngs,
    ):
        """Builds the branch.

        Args:
            features_in: channels of the half that it reads.
            features_out: channels of the half that it adds to.
            dims: axes of space, 1, 2 or 3.
            convolutions: how many, all after the first of features_out channels.
            groups: of the normalisation, reduced to a divisor of the channels.
            dropout: rate of the spatial dropout before the last convolution; active with a key.
            scale: of the last convolution's first values; below 1 keeps deep chains tame.
            execution: precision of the convolutions, and slabs.
            rngs: draws the weights.

        Raises:
            ValueError: no convolution, no group, or a rate outside of [0, 1).
        """
        if convolutions < 1 or groups < 1:
            raise ValueError(f"{convolutions} convolutions with {groups} groups; at least 1 each")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout is {dropout}; it is a rate in [0, 1)")
        self.dropout, self.execution = dropout, execution
        widths = [features_in] + [features_out] * convolutions
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.norms = nnx.List([GroupNorm(a, groups) for a, _ in pairs])
        self.convs = nnx.List(
            [
                Conv(
                    a,
                    b,
                    dims=dims,
                    scale=scale if i == len(pairs) - 1 else 1.0,
                    execution=execution,
                    rngs=rngs,
                )
                for i, (a, b) in enumerate(pairs)
            ]
        )

    def __call__(self, x: Stream, key: Array | None = None) -> Stream:
        """(n, d, h, w, features_in) -> (n, d, h, w, features_out), or `Planes` of them."""
        return self.last(*self.before_last(x), key)

    def accumulate(self, x: Planes, key: Array | None, into: Accumulator) -> Planes:
        """`into.combine(into.stream, self(x, key))` in the stream's place; no gradient."""
        inner, norm, conv = self.before_last(x)
        mask = self._mask(inner, key)
        return preactivated_conv_into(inner, norm, conv, mask, self.execution, into)

    def pullback(
        self, x: Planes, key: Array | None, into: Accumulator, df: Planes
    ) -> tuple[Planes, Planes, "ResidualBranch"]:
        """`self.accumulate(x, key, into)`, and from F(x)'s cotangent those of x and the module."""
        (inner, norm, conv), transpose = jax.vjp(ResidualBranch.before_last, self, x)
        stream, *cotangents = preactivated_conv_pullback(
            inner, norm, conv, self._mask(inner, key), self.execution, into, df
        )
        dmodule, dx = transpose(tuple(cotangents))
        return stream, dx, dmodule

    def before_last(self, x: Stream) -> tuple[Stream, GroupNorm, Conv]:
        """The input of the last norm and convolution, and these: what `last` takes."""
        *before, (norm, conv) = zip(self.norms, self.convs, strict=True)
        for earlier in before:
            mask = dropout_mask(*_examples_and_features(x), 0.0, None)
            x = preactivated_conv(x, *earlier, mask, self.execution)
        return x, norm, conv

    def last(self, inner: Stream, norm: GroupNorm, conv: Conv, key: Array | None = None) -> Stream:
        """The last norm, activation and convolution: `self(x, key)` of `self.before_last(x)`."""
        return preactivated_conv(inner, norm, conv, self._mask(inner, key), self.execution)

    def _mask(self, x: Stream, key: Array | None) -> Array:
        return dropout_mask(*_examples_and_features(x), self.dropout, key)


def _examples_and_features(x: Stream) -> tuple[int, int]:
    (array,) = jax.tree.leaves(x)
    return array.shape[0], array.shape[-1]
