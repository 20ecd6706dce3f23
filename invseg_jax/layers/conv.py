"""Convolutions: 3x3x3 with the CPU's own path, and 1x1x1 as a matrix product."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from invseg_jax.layers import slab_conv
from invseg_jax.layers.initial import he_normal
from invseg_jax.reversible.layer import Array


def _compiler_conv(x: Array, kernel: Array) -> Array:
    numbers = ("NDHWC", "DHWIO", "NDHWC")
    kernel = kernel.transpose(3, 0, 1, 2, 4)
    return lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=numbers)


def _compiler_gradients(x: Array, kernel: Array, dy: Array) -> tuple[Array, Array]:
    _, transpose = jax.vjp(_compiler_conv, x, kernel)
    return transpose(dy)


@jax.custom_vjp
def conv3x3x3(x: Array, kernel: Array) -> Array:
    """3x3x3 cross-correlation, zero padding, stride 1; differentiable in reverse mode.

    The platform is chosen when the program is lowered: `slab_conv` on CPUs, the compiler's own
    convolution elsewhere.

    Args:
        x: (n, d, h, w, c).
        kernel: (3, 3, c, 3, o), of x's type; the axes are height, width, in, depth, out.

    Returns:
        (n, d, h, w, o).
    """
    return lax.platform_dependent(x, kernel, cpu=slab_conv.forward, default=_compiler_conv)


def _forward(x: Array, kernel: Array):
    return conv3x3x3(x, kernel), (x, kernel)


def _backward(kept, dy: Array):
    x, kernel = kept
    dx, dkernel = lax.platform_dependent(
        x, kernel, dy, cpu=_slab_gradients, default=_compiler_gradients
    )
    return dx, dkernel


def _slab_gradients(x: Array, kernel: Array, dy: Array) -> tuple[Array, Array]:
    dx, dkernel = slab_conv.gradients(x, kernel, dy)
    return dx, dkernel.astype(kernel.dtype)


conv3x3x3.defvjp(_forward, _backward)


class Conv(nnx.Module):
    """A convolution of size 1 or 3 in all three directions, zero padding, stride 1.

    Maps (n, d, h, w, features_in) to (n, d, h, w, features_out).

    Raises:
        ValueError: another size.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        size: int = 3,
        *,
        bias: bool = False,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        """Draws the kernel (He et al. 2015), multiplied by `scale`; a bias starts at zero."""
        if size not in (1, 3):
            raise ValueError(f"convolution of size {size}; there are sizes 1 and 3")
        shape = (size, size, features_in, size, features_out)
        self.kernel = nnx.Param(scale * he_normal(rngs, shape))
        self.bias = nnx.Param(jnp.zeros(features_out)) if bias else None

    def __call__(self, x: Array) -> Array:
        """(n, d, h, w, features_in) -> (n, d, h, w, features_out)."""
        kernel = self.kernel[...]
        y = conv3x3x3(x, kernel) if kernel.shape[0] == 3 else jnp.matmul(x, kernel[0, 0, :, 0])
        if self.bias is None:
            return y
        return y + self.bias[...].reshape(1, 1, 1, 1, -1)
