"""What is measured: a chain of couplings at one level, and the whole of `FullInvRes`.

A subject is built in one of several ways to get its gradient, and lowered to a program for the
devices here or for a TPU that is not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import stages
from jax.sharding import SingleDeviceSharding

from invseg_jax.benchmarks.alternatives import Way
from invseg_jax.devices.device import Device
from invseg_jax.layers import invertible
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.invertible import Trunk
from invseg_jax.models import FullInvRes, FullInvResSettings
from invseg_jax.reversible.layer import Array, Params

Kind = Literal["chain", "FullInvRes"]


@dataclass(frozen=True)
class Subject:
    """What a gradient is taken of.

    Attributes:
        kind: "chain": couplings at one level; "FullInvRes": all of it, stem and head too.
        size: voxels along an edge of the input.
        channels: of the chain, or of each level.
        couplings: of the chain, or a level and side.
    """

    kind: Kind
    size: int
    channels: Sequence[int]
    couplings: int

    @property
    def activation(self) -> int:
        """Bytes of one float32 activation at the finest level."""
        return 4 * self.size**3 * self.channels[0]

    @property
    def parameters(self) -> int:
        """Bytes of the parameters, float32."""
        model = self.build(Way(Execution())).model
        return 4 * sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))

    def build(self, way: Way) -> "Program":
        """The subject as a program that gets its gradient in one way."""
        rngs = nnx.Rngs(0)
        if self.kind == "chain":
            (features,) = self.channels
            weighted = invertible.couplings(
                features,
                self.couplings,
                convolutions=1,
                groups=8,
                scale=self.couplings**-0.5,
                execution=way.execution,
                rngs=rngs,
            )
            model: Any = Trunk(weighted, execution=way.execution)
            trunk = model
            inputs = features
        else:
            model = FullInvRes(
                1,
                3,
                FullInvResSettings(
                    channels=tuple(self.channels), couplings=self.couplings, auxiliary=0
                ),
                execution=way.execution,
                rngs=rngs,
            )
            trunk, inputs = model.trunk, 1
        trunk.layer = way.apply(trunk.layer)
        # In a chain the input's gradient goes on to the layers before; a network's goes nowhere.
        of = (0, 1) if self.kind == "chain" else (0,)
        return Program(model, (1, self.size, self.size, self.size, inputs), of)


@dataclass(frozen=True)
class Program:
    """A loss of a model, with its gradient.

    Attributes:
        model: called as model(x), which gives an array or (array, taps).
        shape: of x, one example.
        of: what the gradient is taken of: 0 for the parameters, 1 for x.
    """

    model: Params
    shape: tuple[int, ...]
    of: tuple[int, ...]

    def lower(self, device: Device | None = None) -> stages.Lowered:
        """The program for the default device, or for one that may not be here."""
        sharding = None if device is None else SingleDeviceSharding(device)

        def described(leaf: Array) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        model = jax.tree.map(described, self.model)
        x = jax.ShapeDtypeStruct(self.shape, jnp.float32, sharding=sharding)
        return self.jitted().lower(model, x)

    def jitted(self) -> stages.Wrapped:
        """The program for whatever arrays it is called with, as (loss, gradients)."""
        return jax.jit(jax.value_and_grad(_loss, argnums=self.of))

    def input(self, batch: int = 1) -> Array:
        """Normally distributed values, float32, of so many examples."""
        shape = (batch, *self.shape[1:])
        return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def _loss(model: Params, x: Array) -> Array:
    y = model(x)
    return jnp.square(y[0] if isinstance(y, tuple) else y).mean()
