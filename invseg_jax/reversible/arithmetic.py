"""In which numbers a stream passes from layer to layer: float32, or fixed-point int32.

A coupling adds a branch's value to the stream and its inverse subtracts it again. In float32 each
such pair leaves a rounding error, and the errors of a deep network add up; where the branches
compute in bfloat16 they are amplified as well. In fixed point both are integer additions: the
stream that comes back is the one that went in, bit for bit, at any depth, as long as the branch
gives the same bits twice.

    encode   x -> round(x 2^b)           decode   i -> i 2^-b
    add      i + round(f 2^b)            subtract i - round(f 2^b)

Gradients take the rounding for the identity.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

# The stream's not-a-number. What it is added to, or computed from, becomes lost as well, so that an
# overflow anywhere reaches the output, and the loss, as NaN.
LOST = -(2**31)


@dataclass(frozen=True)
class Float:
    """The stream as it is, float32."""

    def encode(self, x: Array) -> Array:
        """The identity."""
        return x

    def decode(self, x: Array) -> Array:
        """The identity."""
        return x

    def add(self, x: Array, f: Array) -> Array:
        """X + f."""
        return x + f

    def subtract(self, x: Array, f: Array) -> Array:
        """X - f, up to rounding the inverse of `add`."""
        return x - f


@dataclass(frozen=True)
class FixedPoint:
    """Int32 in steps of 2^-fraction_bits, from -2^(31 - fraction_bits) to 2^(31 - fraction_bits).

    What leaves that range, infinity and NaN become `LOST`, and stay it.
    """

    fraction_bits: int = 16

    def encode(self, x: Array) -> Array:
        """Float32 -> int32."""
        steps, lost = self._steps(x)
        return jnp.where(lost, LOST, steps)

    def decode(self, x: Array) -> Array:
        """Int32 -> float32; NaN for `LOST`."""
        return jnp.where(x == LOST, jnp.nan, x.astype(jnp.float32) * 2.0**-self.fraction_bits)

    def add(self, x: Array, f: Array) -> Array:
        """Int32 x and float32 f -> int32 x + f, never wrapped around."""
        steps, lost = self._steps(f)
        total = x + steps
        wrapped = ((x ^ total) & (steps ^ total)) < 0
        return jnp.where(lost | wrapped | (x == LOST), LOST, total)

    def subtract(self, x: Array, f: Array) -> Array:
        """The inverse of `add`, bit for bit: of an x that is a sum within the range."""
        steps, lost = self._steps(f)
        return jnp.where(lost | (x == LOST), LOST, x - steps)

    def _steps(self, f: Array) -> tuple[Array, Array]:
        """Rounds to whole steps, and says what cannot be: NaN is not below the limit either."""
        steps = jnp.round(f * 2.0**self.fraction_bits)
        lost = ~(jnp.abs(steps) < 2.0**31)
        return jnp.where(lost, 0.0, steps).astype(jnp.int32), lost


@dataclass(frozen=True)
class StraightThrough:
    """The values of `FixedPoint` in float32, so that JAX can differentiate what it does.

    This is how plain autodiff sees a fixed-point stream: the derivative of the rounding is taken
    as 1 (Bengio et al. 2013). As long as all values stay below 2^(24 - fraction_bits), they are
    equal to those of `FixedPoint` bit for bit; there is no overflow.
    """

    fraction_bits: int = 16

    def encode(self, x: Array) -> Array:
        """Rounds to whole steps."""
        return _round_straight_through(x, self.fraction_bits)

    def decode(self, x: Array) -> Array:
        """The identity."""
        return x

    def add(self, x: Array, f: Array) -> Array:
        """X + the rounded f."""
        return x + _round_straight_through(f, self.fraction_bits)

    def subtract(self, x: Array, f: Array) -> Array:
        """X - the rounded f."""
        return x - _round_straight_through(f, self.fraction_bits)


Arithmetic = Float | FixedPoint | StraightThrough
FLOAT = Float()


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _round_straight_through(x: Array, fraction_bits: int) -> Array:
    return jnp.round(x * 2.0**fraction_bits) * 2.0**-fraction_bits


@_round_straight_through.defjvp
def _(fraction_bits: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _round_straight_through(*primals, fraction_bits), tangents[0]
