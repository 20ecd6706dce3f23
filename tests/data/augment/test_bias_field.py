import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import polynomial

from invseg_jax.data.augment.bias_field import DEGREE, bias_field

SHAPE = (11, 8, 9)


def field_of(seed, greatest, shape=SHAPE):
    compiled = jax.jit(bias_field, static_argnums=1)
    return np.asarray(compiled(jax.random.key(seed), shape, jnp.asarray(greatest, jnp.float32)))


@given(st.integers(0, 2**31 - 1), st.floats(1.0, 3.0), st.floats(1.0, 3.0))
@settings(max_examples=25)
def test_it_is_positive_and_reaches_its_bound(seed, first, second):
    field = field_of(seed, [first, second])
    assert field.shape == (*SHAPE, 2) and (field > 0).all()
    reached = np.exp(np.abs(np.log(field)).max(axis=(0, 1, 2)))
    np.testing.assert_allclose(reached, np.array([first, second]), rtol=1e-5)


def test_its_logarithm_is_a_polynomial_of_the_third_degree():
    logarithm = np.log(field_of(3, [1.5])[..., 0].astype(np.float64))
    d, h, w = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    terms = polynomial.polyvander3d(d, h, w, [DEGREE] * 3).reshape(*SHAPE, -1)
    degree = np.indices((DEGREE + 1,) * 3).sum(axis=0).ravel()
    terms = terms[..., degree <= DEGREE].reshape(logarithm.size, -1)
    fitted = terms @ np.linalg.lstsq(terms, logarithm.ravel(), rcond=None)[0]
    np.testing.assert_allclose(fitted, logarithm.ravel(), atol=1e-5)
    assert logarithm.std() > 0.05


def test_it_is_smooth_at_the_size_of_a_patch():
    field = field_of(0, [2.0], (64, 64, 64))
    for axis in range(3):
        assert np.abs(np.diff(np.log(field), axis=axis)).max() < 0.1


def test_channels_and_keys_have_fields_of_their_own():
    field = field_of(0, [1.5, 1.5])
    assert np.abs(field[..., 0] - field[..., 1]).max() > 0.05
    assert np.abs(field - field_of(1, [1.5, 1.5])).max() > 0.05


@pytest.mark.parametrize("shape", [(1, 9, 1)])
def test_thin_patches_and_no_strength(shape):
    assert np.isfinite(field_of(0, [1.5], shape)).all()
    np.testing.assert_array_equal(field_of(0, [1.0, 1.0], shape), 1)
