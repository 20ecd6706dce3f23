"""A 3x3x3 convolution for CPUs, as matrix products over depth slabs.

XLA's own 3-D convolution and its gradients run several times below what the same CPU does in a
matrix product. Here a loop walks the depth. For each slab it gathers the nine in-plane neighbours
of every voxel as columns (9c wide) and multiplies once by the kernel as it lies in memory, a matrix
(9c x 3o) that yields all three depth taps. Working memory: one slab's columns.

A loop's first slab starts its sums. Zeros would depend on nothing: the compiler would set up one
volume of them for each convolution at the program's beginning and keep them all. For the same
reason no copy of a kernel is made, mirrored or transposed: it too would be made early and kept.
"""

import jax.numpy as jnp
from jax import lax

from invseg_jax.reversible.layer import Array


def _columns(slab: Array) -> Array:
    """(n, h + 2, w + 2, c) -> (n, h*w, 9c): the in-plane neighbours of every voxel."""
    n, h, w, c = slab.shape[0], slab.shape[1] - 2, slab.shape[2] - 2, slab.shape[3]
    shifted = [slab[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1).reshape(n, h * w, 9 * c)


def _add_columns(columns: Array, h: int, w: int) -> Array:
    """The transpose of `_columns`, without its border: (n*h*w, 9c) -> (n, h, w, c)."""
    around = ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0))
    columns = jnp.pad(columns.reshape(-1, h, w, 9, columns.shape[-1] // 9), around)
    shifted = [
        columns[:, 2 - i : 2 - i + h, 2 - j : 2 - j + w, 3 * i + j]
        for i in range(3)
        for j in range(3)
    ]
    return sum(shifted[1:], start=shifted[0])


def _pad_in_plane(x: Array) -> Array:
    return jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))


def forward(x: Array, kernel: Array) -> Array:
    """Cross-correlation with zero padding and stride 1.

    Args:
        x: (n, d, h, w, c).
        kernel: (3, 3, c, 3, o), the axes height, width, in, depth, out.

    Returns:
        (n, d, h, w, o), float32 sums in x's type.
    """
    n, d, h, w, c = x.shape
    o = kernel.shape[-1]
    taps = kernel.reshape(9 * c, 3 * o)
    padded = _pad_in_plane(x)

    def three_from(slab: Array) -> Array:
        columns = _columns(slab).reshape(n * h * w, 9 * c)
        product = jnp.matmul(columns, taps, preferred_element_type=jnp.float32)
        product = product.reshape(n, 1, h, w, 3, o)
        # Tap k of slab i lands in output slab i + 1 - k, which `out` holds one further on.
        return jnp.concatenate([product[..., k, :] for k in (2, 1, 0)], axis=1)

    def add_slab(i: Array, out: Array) -> Array:
        three = three_from(lax.dynamic_index_in_dim(padded, i, 1, keepdims=False))
        old = lax.dynamic_slice_in_dim(out, i, 3, axis=1)
        return lax.dynamic_update_slice_in_dim(out, old + three, i, axis=1)

    first = jnp.pad(three_from(padded[:, 0]), ((0, 0), (0, d - 1), (0, 0), (0, 0), (0, 0)))
    out = lax.fori_loop(1, d, add_slab, first)
    return out[:, 1:-1].astype(x.dtype)


def gradients(x: Array, kernel: Array, dy: Array) -> tuple[Array, Array]:
    """The gradients of `forward`, both in one walk over the slabs.

        dkernel = sum_i columns_i^T three_i,   dx_i = the transpose of columns (three_i kernel^T)

    where three_i are the slabs i - 1, i and i + 1 of dy, to which slab i of x contributed. The
    examples are summed after the loop: spread over devices they then meet once, not at each slab.

    Args:
        x: (n, d, h, w, c).
        kernel: (3, 3, c, 3, o).
        dy: the cotangent of the output, (n, d, h, w, o).

    Returns:
        dx of x's shape and type, and dkernel of the kernel's shape, float32.
    """
    n, d, h, w, c = x.shape
    o = kernel.shape[-1]
    taps = kernel.reshape(9 * c, 3 * o)
    padded = _pad_in_plane(x)
    dy = jnp.pad(dy, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))

    def of_slab(slab: Array, three: Array) -> tuple[Array, Array]:
        three = jnp.concatenate([three[:, k] for k in (2, 1, 0)], axis=-1)
        three = three.reshape(n, h * w, 3 * o)
        dtaps = lax.dot_general(
            _columns(slab),
            three,
            (((1,), (1,)), ((0,), (0,))),
            preferred_element_type=jnp.float32,
        )
        dcolumns = lax.dot_general(
            three.reshape(n * h * w, 3 * o),
            taps,
            (((1,), (1,)), ((), ())),
            preferred_element_type=jnp.float32,
        )
        return _add_columns(dcolumns, h, w)[:, None], dtaps

    def add_slab(i: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        slab = lax.dynamic_index_in_dim(padded, i, 1, keepdims=False)
        dslab, dtaps = of_slab(slab, lax.dynamic_slice_in_dim(dy, i, 3, axis=1))
        return lax.dynamic_update_slice_in_dim(sums[0], dslab, i, axis=1), sums[1] + dtaps

    dslab, dtaps = of_slab(padded[:, 0], dy[:, :3])
    first = jnp.pad(dslab, ((0, 0), (0, d - 1), (0, 0), (0, 0), (0, 0)))
    dx, dtaps = lax.fori_loop(1, d, add_slab, (first, dtaps))
    return dx.astype(x.dtype), dtaps.sum(axis=0).reshape(kernel.shape)
