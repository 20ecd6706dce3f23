"""Random numbers of one sample."""

import jax
import jax.numpy as jnp


class Draws:
    """Uniform random numbers handed out from one vector: each further draw is slow to compile."""

    def __init__(self, key: jax.Array, count: int):
        """Draws all numbers at once.

        Args:
            key: typed PRNG key.
            count: how many will be asked for, at most.
        """
        self._numbers = jax.random.uniform(key, (count,), jnp.float32)
        self._next = 0

    def uniform(self, count: int, low: float, high: float) -> jax.Array:
        """The next (count,) numbers, in [low, high)."""
        numbers = self._numbers[self._next : self._next + count]
        assert numbers.size == count, "a transform draws more than was counted"
        self._next += count
        return low + numbers * (high - low)

    def happens(self, probability: float) -> jax.Array:
        """The next yes or no, a bool scalar."""
        return self.uniform(1, 0.0, 1.0)[0] < probability
