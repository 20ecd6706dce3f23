import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.benchmarks.conv import forward_and_gradients, lax_conv
from invseg_jax.layers.conv import conv3x3x3


def test_both_sides_compute_the_same(assert_close):
    rng = np.random.default_rng(0)
    x, dy = (jnp.asarray(rng.standard_normal((1, 4, 4, 4, 3)), jnp.float32) for _ in range(2))
    kernel = jnp.asarray(rng.standard_normal((3, 3, 3, 3, 3)), jnp.float32)
    theirs = jax.jit(partial(forward_and_gradients, lax_conv))(x, kernel, dy)
    y, dx, dkernel = jax.jit(partial(forward_and_gradients, conv3x3x3))(
        x, kernel.transpose(1, 2, 3, 0, 4), dy
    )
    assert_close((y, dx, dkernel.transpose(3, 0, 1, 2, 4)), theirs)


def test_table(measure, bounds, monkeypatch):
    monkeypatch.setattr("invseg_jax.benchmarks.conv.find_spec", lambda name: None)
    (table,), out = measure("conv", "--shapes", "4x2", "3x4")
    assert [row["shape"] for row in table["rows"]] == ["4^3 x 2", "3^3 x 4"]
    for row, (size, channels) in zip(table["rows"], ((4, 2), (3, 4)), strict=True):
        operations = 3 * 2 * 27 * channels**2 * 2 * size**3
        assert row["ours_gflops"] * row["ours_ms"] * 1e6 == pytest.approx(operations)
        assert row["compiler_gflops"] * row["compiler_ms"] * 1e6 == pytest.approx(operations)
        assert row["speedup"] == pytest.approx(row["compiler_ms"] / row["ours_ms"])
    first, second = (row["speedup"] for row in table["rows"])
    assert bounds(table) == {
        "geometric mean of ours / lax": pytest.approx(math.sqrt(first * second))
    }
    assert "PyTorch is not installed: pip install 'invseg_jax[benchmarks]'" in out


def test_table_beside_torch(measure, bounds):
    pytest.importorskip("torch")
    (table,), _ = measure("conv", "--shapes", "4x2")
    (row,) = table["rows"]
    assert row["to_torch"] == pytest.approx(row["ours_ms"] / row["torch_ms"])
    assert bounds(table)["geometric mean of torch / ours"] == pytest.approx(row["to_torch"])
