import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invseg_jax.reversible import FixedPoint, Float, StraightThrough
from invseg_jax.reversible.arithmetic import LOST

VALUES = st.floats(-1e4, 1e4, width=32)


def row(*values):
    return jnp.asarray(values, jnp.float32)


@settings(max_examples=50)
@given(x=VALUES, f=VALUES, bits=st.integers(0, 16))
def test_subtract_undoes_add_bit_for_bit(x, f, bits):
    numbers = FixedPoint(bits)
    stream, f = numbers.encode(row(x)), row(f)
    assert stream.dtype == jnp.int32
    np.testing.assert_array_equal(numbers.subtract(numbers.add(stream, f), f), stream)


@given(x=VALUES)
def test_encoding_rounds_to_the_next_step(x):
    numbers = FixedPoint(10)
    assert abs(float(numbers.decode(numbers.encode(row(x)))[0]) - np.float32(x)) <= 2.0**-11


@settings(max_examples=50)
@given(x=st.floats(-100, 100, width=32), f=st.floats(-100, 100, width=32))
def test_straight_through_has_the_same_values(x, f):
    fixed, straight = FixedPoint(), StraightThrough()
    total = fixed.decode(fixed.add(fixed.encode(row(x)), row(f)))
    np.testing.assert_array_equal(straight.add(straight.encode(row(x)), row(f)), total)
    back = straight.subtract(total, row(f))
    np.testing.assert_array_equal(back, fixed.decode(fixed.encode(row(x))))


def test_straight_through_has_the_derivative_one():
    numbers = StraightThrough(4)
    gradient = jax.grad(lambda x, f: (3.0 * numbers.add(numbers.encode(x), f)).sum(), (0, 1))
    for got in gradient(row(0.3, -5.0), row(0.01, 0.7)):
        np.testing.assert_array_equal(got, [3.0, 3.0])


@pytest.mark.parametrize("bits", [0, 16])
def test_what_leaves_the_range_is_lost_and_never_wraps(bits):
    numbers, edge = FixedPoint(bits), 2.0 ** (31 - bits)
    near = numbers.encode(row(edge * 0.75, -edge * 0.75))
    assert (near != LOST).all()
    for f in (row(edge / 2, -edge / 2), row(2 * edge, jnp.nan), row(jnp.inf, -jnp.inf)):
        total = numbers.add(near, f)
        np.testing.assert_array_equal(total, [LOST, LOST])
    # Once lost, lost for good, and NaN for whatever reads it.
    lost = numbers.add(near, row(edge / 2, -edge / 2))
    np.testing.assert_array_equal(numbers.add(lost, row(-edge / 2, edge / 2)), [LOST, LOST])
    np.testing.assert_array_equal(numbers.subtract(lost, row(1.0, 1.0)), [LOST, LOST])
    assert np.isnan(numbers.decode(lost)).all()
    np.testing.assert_array_equal(
        numbers.encode(row(edge, -2 * edge, jnp.nan, jnp.inf)), [LOST] * 4
    )


def test_float_is_plain_addition():
    x, f = row(1.5, -2.0), row(0.25, 8.0)
    numbers = Float()
    np.testing.assert_array_equal(numbers.add(numbers.encode(x), f), x + f)
    np.testing.assert_array_equal(numbers.decode(numbers.subtract(x, f)), x - f)
