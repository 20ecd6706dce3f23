"""A 3x3x3 convolution for CPUs, as one matrix product for each depth slab.

XLA's own 3-D convolution and its gradients run several times below what the same CPU does in a
matrix product. Here a loop walks the depth. For each slab it gathers the nine in-plane neighbours
as columns (9c wide) and multiplies once by the kernel arranged to yield all three depth taps (9c x
3o); the three results are added where they belong. Working memory: one slab's columns.
"""

import jax.numpy as jnp
from jax import lax

from invseg_jax.reversible.layer import Array


def _columns(slab: Array) -> Array:
    """(n, h + 2, w + 2, c) -> (n*h*w, 9c): the in-plane neighbours of every voxel."""
    n, h, w, c = slab.shape[0], slab.shape[1] - 2, slab.shape[2] - 2, slab.shape[3]
    shifted = [slab[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1).reshape(n * h * w, 9 * c)


def _pad_in_plane(x: Array) -> Array:
    return jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))


def forward(x: Array, kernel: Array) -> Array:
    """Cross-correlation with zero padding and stride 1.

    Args:
        x: (n, d, h, w, c).
        kernel: (3, 3, 3, c, o).

    Returns:
        (n, d, h, w, o), float32 sums in x's type.
    """
    n, d, h, w, c = x.shape
    o = kernel.shape[-1]
    taps = kernel.transpose(1, 2, 3, 0, 4).reshape(9 * c, 3 * o)
    padded = _pad_in_plane(x)

    def three_from(slab: Array) -> Array:
        product = jnp.matmul(_columns(slab), taps, preferred_element_type=jnp.float32)
        product = product.reshape(n, 1, h, w, 3, o)
        # Tap k of slab i lands in output slab i + 1 - k, which `out` holds one further on.
        return jnp.concatenate([product[..., k, :] for k in (2, 1, 0)], axis=1)

    def add_slab(i: Array, out: Array) -> Array:
        three = three_from(lax.dynamic_index_in_dim(padded, i, 1, keepdims=False))
        old = lax.dynamic_slice_in_dim(out, i, 3, axis=1)
        return lax.dynamic_update_slice_in_dim(out, old + three, i, axis=1)

    # The first slab starts the sum. Zeros would depend on nothing, so that the compiler sets them
    # up at the program's beginning, one volume for each of its convolutions, and keeps them all.
    first = jnp.pad(three_from(padded[:, 0]), ((0, 0), (0, d - 1), (0, 0), (0, 0), (0, 0)))
    out = lax.fori_loop(1, d, add_slab, first)
    return out[:, 1:-1].astype(x.dtype)


def input_gradient(kernel: Array, dy: Array) -> Array:
    """The same convolution with the kernel mirrored and its channels exchanged."""
    return forward(dy, kernel[::-1, ::-1, ::-1].swapaxes(3, 4))


def kernel_gradient(x: Array, dy: Array) -> Array:
    """Sums columns^T @ dy over the slabs: (n, d, h, w, c), (n, d, h, w, o) -> (3, 3, 3, c, o).

    The examples are summed after the loop: spread over devices they then meet once, not at each
    slab.
    """
    n, d, h, w, c = x.shape
    o = dy.shape[-1]
    padded = _pad_in_plane(x)
    dy = jnp.pad(dy, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))

    def product(slab: Array, three: Array) -> Array:
        columns = _columns(slab).reshape(n, h * w, 9 * c)
        taps = jnp.concatenate([three[:, 2 - k] for k in range(3)], axis=-1)
        return lax.dot_general(
            columns,
            taps.reshape(n, h * w, 3 * o),
            (((1,), (1,)), ((0,), (0,))),
            preferred_element_type=jnp.float32,
        )

    def add_slab(i: Array, total: Array) -> Array:
        slab = lax.dynamic_index_in_dim(padded, i, 1, keepdims=False)
        return total + product(slab, lax.dynamic_slice_in_dim(dy, i, 3, axis=1))

    total = lax.fori_loop(1, d, add_slab, product(padded[:, 0], dy[:, :3]))
    return total.sum(axis=0).reshape(3, 3, c, 3, o).transpose(3, 0, 1, 2, 4)
