"""Convolutions: of size 3 by the kernels of the platform compiled for, of size 1 as a product.

An image (n, h, w, c) is convolved as the volume (n, h, 1, w, c), row by row as volumes are plane by
plane, and a sequence (n, l, c) as (n, 1, 1, l, c), with kernels of size 1 along the axes added.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from invseg_jax.layers import compiler_conv, plane_conv
from invseg_jax.layers.execution import Execution, Precision
from invseg_jax.layers.initial import constant, he_normal
from invseg_jax.reversible import Planes
from invseg_jax.reversible.layer import Array

# `partial` hides the decorated function's type.
_with_rule: Any = partial(jax.custom_vjp, nondiff_argnums=(2,))


def as_volume(x: Array) -> Array:
    """(n, d, h, w, c), (n, h, w, c) or (n, l, c) -> (n, d, h, w, c).

    Raises:
        ValueError: other numbers of axes.
    """
    match x.shape:
        case (_, _, _, _, _):
            return x
        case (n, h, w, c):
            return x.reshape(n, h, 1, w, c)
        case (n, length, c):
            return x.reshape(n, 1, 1, length, c)
    raise ValueError(f"an array of shape {x.shape} has not 1, 2 or 3 axes of space")


@_with_rule
def conv3x3x3(x: Array, kernel: Array, precision: Precision = "float32") -> Array:
    """3x3x3 cross-correlation, zero padding, stride 1; differentiable in reverse mode.

    The platform is chosen when the program is lowered: `plane_conv` on CPUs, the compiler's own
    convolution elsewhere (also on TPUs, for a volume whose planes are not flat already).

    Args:
        x: (n, d, h, w, c) float32.
        kernel: (3, 3, c, 3, o) float32; the axes are height, width, in, depth, out. Of size 1 along
            height and depth where x is an image or a sequence, `as_volume`.
        precision: type to which the factors are rounded; products are summed as float32.

    Returns:
        (n, d, h, w, o) float32.
    """
    planes = Planes.of(x)
    forward = _by_platform(plane_conv.forward, compiler_conv.forward, planes.width, precision)
    return Planes(forward(planes.rows, kernel), planes.width).volume


def _forward(x: Array, kernel: Array, precision: Precision):
    return conv3x3x3(x, kernel, precision), (x, kernel)


def _backward(precision: Precision, residuals: tuple[Array, Array], dy: Array):
    x, kernel = residuals
    planes = Planes.of(x)
    gradients = _by_platform(plane_conv.gradients, compiler_conv.gradients, planes.width, precision)
    dx, dkernel, *_ = gradients(planes.rows, kernel, Planes.of(dy).rows)
    return Planes(dx, planes.width).volume, dkernel


def _by_platform(planes: Callable, compiler: Callable, width: int, precision: Precision):
    how = dict(width=width, precision=precision)
    return partial(
        lax.platform_dependent, cpu=partial(planes, **how), default=partial(compiler, **how)
    )


conv3x3x3.defvjp(_forward, _backward)


class Conv(nnx.Module):
    """A convolution of size 1 or 3 in all directions, zero padding, stride 1.

    Of size 3 its factors have `execution.precision`; of size 1 it is a product in float32.

    Maps (n, d, h, w, features_in) to (n, d, h, w, features_out); or, with fewer dims, images
    (n, h, w, features_in) or sequences (n, l, features_in).

    Raises:
        ValueError: another size, or other dims than 1, 2 and 3.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        size: int = 3,
        *,
        dims: int = 3,
        bias: bool = False,
        scale: float = 1.0,
        execution: Execution = Execution(),
        rngs: nnx.Rngs,
    ):
        """Draws the kernel (He et al. 2015), multiplied by `scale`; a bias starts at zero."""
        if size not in (1, 3):
            raise ValueError(f"convolution of size {size}; there are sizes 1 and 3")
        if dims not in (1, 2, 3):
            raise ValueError(f"convolution in {dims} dimensions; there are 1, 2 and 3")
        high, self.deep = size if dims == 3 else 1, size if dims > 1 else 1
        # The last two axes are one: TPUs pad the last two to 8 and 128.
        shape = (high, size, features_in, self.deep * features_out)
        self.kernel = nnx.Param(he_normal(rngs, shape, size**dims * features_in, scale=scale))
        self.precision: Precision = execution.precision
        self.bias = nnx.Param(constant(features_out, 0.0)) if bias else None

    @property
    def weights(self) -> Array:
        """(size, size, features_in, size, features_out): height, width, in, depth, out.

        Of images the size is 1 along the height, of sequences along height and depth.
        """
        kernel = self.kernel[...]
        return kernel.reshape(*kernel.shape[:3], self.deep, -1)

    def __call__(self, x: Array) -> Array:
        """(n, d, h, w, features_in) -> (n, d, h, w, features_out)."""
        kernel = self.weights
        if kernel.shape[1] == 3:
            y = conv3x3x3(as_volume(x), kernel, self.precision)
            y = y.reshape(*x.shape[:-1], y.shape[-1])
        else:
            y = jnp.matmul(x, kernel[0, 0, :, 0])
        if self.bias is None:
            return y
        return y + self.bias[...].reshape(*(1,) * (y.ndim - 1), -1)
