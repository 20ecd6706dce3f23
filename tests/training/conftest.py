"""A batch, and a network so small that the step around it can be followed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.models import Outputs

CLASSES = 3


class Pointwise(nnx.Module):
    """Multinomial regression on each voxel's intensity, with noise if asked for."""

    def __init__(self, noise: float = 0.0):
        self.noise = noise
        self.weight = nnx.Param(jnp.asarray([[-1.0, 0.1, 1.0]]))
        self.bias = nnx.Param(jnp.zeros(CLASSES))

    def outputs(self, x: jax.Array, key: jax.Array) -> Outputs:
        logits = x @ self.weight[...] + self.bias[...].reshape(1, 1, 1, 1, CLASSES)
        if self.noise:
            logits += self.noise * jax.random.normal(key, logits.shape)
        return Outputs(logits)


@pytest.fixture(scope="session")
def pointwise() -> type[Pointwise]:
    return Pointwise


@pytest.fixture(scope="session")
def batch() -> dict[str, np.ndarray]:
    """Two patches in which a class can be told by its intensity."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, (2, 8, 8, 8)).astype(np.int32)
    image = (label - 1.0)[..., None] + rng.normal(0, 0.3, (*label.shape, 1))
    return {"image": image.astype(np.float32), "label": label}
