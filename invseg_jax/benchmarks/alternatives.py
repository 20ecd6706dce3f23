"""What one would write instead of a reversible network: the same function, other gradients.

The layers of this package evaluate norm, activation and convolution in one, with a gradient rule
that keeps their input alone. In ordinary layers JAX differentiates each of the three, as it does in
a network that somebody writes with Flax. Parameters and values are the same.
"""

from dataclasses import dataclass, replace

import jax
from jax import lax, nn

from invseg_jax.layers.branch import ResidualBranch
from invseg_jax.layers.execution import Execution
from invseg_jax.layers.preactivation import SLOPE
from invseg_jax.reversible import AdditiveCoupling, Layer, Repeat, replaced
from invseg_jax.reversible.layer import Array, Params, Stream, Taps


@dataclass(frozen=True)
class Group:
    """Checkpoints around groups of couplings.

    Attributes:
        size: couplings a group.
        inner: whether each coupling has a checkpoint too, inside of its group's.
    """

    size: int
    inner: bool


@dataclass(frozen=True)
class Way:
    """A way to get the gradient of a network.

    Attributes:
        execution: of the package's own layers.
        ordinary: whether the branches are ordinary layers instead.
        group: checkpoints around groups of couplings, of a `plain` execution.
        lax_conv: whether ordinary layers convolve with `lax.conv_general_dilated`, as
            `flax.nnx.Conv` does; ours is another on CPUs alone.
    """

    execution: Execution
    ordinary: bool = False
    group: Group | None = None
    lax_conv: bool = False

    def apply(self, layer: Layer) -> Layer:
        """The layer as `ordinary` and `group` have it; the execution is for whoever builds it."""
        if self.ordinary:
            branch = _lax_branch if self.lax_conv else ordinary_branch

            def ordinary(old: Layer) -> Layer | None:
                is_coupling = isinstance(old, AdditiveCoupling)
                return AdditiveCoupling(branch, old.arithmetic) if is_coupling else None

            layer = replaced(layer, ordinary)
        if self.group is not None:
            group = self.group

            def grouped(old: Layer) -> Layer | None:
                return GroupedRemat(old, group) if isinstance(old, Repeat) else None

            layer = replaced(layer, grouped)
        return layer


def ordinary_branch(branch: ResidualBranch, x: Array, key: Array | None) -> Array:
    """The branch as three layers; without dropout. (n, d, h, w, c) -> (n, d, h, w, o)."""
    del key
    for norm, conv in zip(branch.norms, branch.convs, strict=True):
        x = conv(nn.leaky_relu(norm(x), SLOPE))
    return x


def _lax_branch(branch: ResidualBranch, x: Array, key: Array | None) -> Array:
    """The same with the compiler's convolution."""
    del key
    for norm, conv in zip(branch.norms, branch.convs, strict=True):
        x = lax.conv_general_dilated(
            nn.leaky_relu(norm(x), SLOPE),
            conv.weights.transpose(3, 0, 1, 2, 4),
            window_strides=(1, 1, 1),
            padding="SAME",
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        )
    return x


@dataclass(frozen=True)
class GroupedRemat(Layer):
    """The couplings of a `Repeat` as a loop of groups, each a loop evaluated again.

    With D couplings in groups of about the square root of D this is what Chen et al. 2016 keep:
    the input of every group, and inside of one group at a time the input of every coupling.
    """

    repeat: Repeat
    group: Group

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The repeated layer."""
        return self.repeat.parts

    def with_parts(self, parts: tuple[Layer, ...]) -> "GroupedRemat":
        """Another layer, in the same groups."""
        return replace(self, repeat=self.repeat.with_parts(parts))

    def forward(self, params: Params, x: Stream, key: Array | None = None) -> tuple[Stream, Taps]:
        """As the `Repeat`."""
        size = self.group.size
        if self.repeat.count % size:
            raise ValueError(f"{self.repeat.count} couplings are not groups of {size}")

        def grouped(leaf: Array) -> Array:
            return leaf.reshape(-1, size, *leaf.shape[1:])

        def coupling(x: Stream, params: Params) -> tuple[Stream, None]:
            return self.repeat.layer.forward(params, x, key)[0], None

        body = jax.checkpoint(coupling) if self.group.inner else coupling

        @jax.checkpoint
        def of_group(x: Stream, params: Params) -> tuple[Stream, None]:
            return lax.scan(body, x, params, unroll=2)  # as `Repeat`

        return lax.scan(of_group, x, jax.tree.map(grouped, params))[0], {}


def groups_near_root(couplings: int) -> list[Group]:
    """The two divisors nearest to the square root of a depth, with and without inner checkpoints.

    A group of one has no inner ones.
    """
    divisors = [size for size in range(1, couplings + 1) if couplings % size == 0]
    nearest = sorted(divisors, key=lambda size: abs(size - couplings**0.5))[:2]
    return [
        Group(size, inner)
        for size in sorted(nearest)
        for inner in ((False, True) if size > 1 else (False,))
    ]
