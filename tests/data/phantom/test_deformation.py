"""The spline fields against SciPy, and the deformation against finite differences."""

import numpy as np
from scipy import ndimage

from invseg_jax.data.phantom import deformation
from invseg_jax.data.phantom.deformation import REACH, Deformation, SplineField

H = 1e-4  # mm, the step of finite differences


def test_spline_field_against_scipy():
    field = SplineField(np.random.default_rng(0), 20.0, 1.5)
    axes = [np.linspace(-100, 100, n) for n in (9, 11, 13)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"))
    expected = ndimage.map_coordinates(
        field.coefficients, (places + REACH) / 20.0 + 1, order=3, prefilter=False
    )
    np.testing.assert_allclose(field(axes), expected, atol=1e-12)
    for axis in range(3):
        lower, upper = ([x + h * (k == axis) for k, x in enumerate(axes)] for h in (-H, H))
        np.testing.assert_allclose(
            field(axes, axis), (field(upper) - field(lower)) / (2 * H), atol=1e-7
        )


def test_spline_field_has_the_standard_deviation_asked_for():
    field = SplineField(np.random.default_rng(0), 20.0, 1.5)
    assert 1.2 < field([np.arange(-100.0, 100.0, 5.0)] * 3).std() < 1.8


def test_jacobian_against_finite_differences():
    warp = Deformation(np.random.default_rng([0, 5]))
    x = [np.array([-20.0, 5.0]), np.array([0.0, 30.0, 31.0]), np.array([-11.0, 40.0])]
    columns = [
        warp([a + H * (k == i) for k, a in enumerate(x)])
        - warp([a - H * (k == i) for k, a in enumerate(x)])
        for i in range(3)
    ]
    matrices = np.moveaxis(np.stack(columns, axis=1) / (2 * H), (0, 1), (-2, -1))
    expected = np.linalg.det(matrices) / np.linalg.det(warp.affine)
    np.testing.assert_allclose(warp.jacobian(x), expected, rtol=1e-5)


def test_deformation_never_folds_and_keeps_the_size_of_an_infant():
    axes = [np.arange(-75.0, 76.0, 5.0)] * 3
    for number in (1, 2, 3):
        warp = Deformation(np.random.default_rng([0, number]))
        assert 0.8**3 * 0.8 < 1 / np.linalg.det(warp.affine) < 0.8**3 * 1.25
        assert warp.jacobian(axes).min() > 0.1


def test_a_violent_deformation_is_weakened(monkeypatch):
    def violent(rng, spacing, sd):
        return SplineField(rng, spacing, 4 * sd)

    monkeypatch.setattr(deformation, "SplineField", violent)
    warp = Deformation(np.random.default_rng(3))
    assert warp.strength < 1
    assert warp.jacobian([np.arange(-75.0, 76.0, 5.0)] * 3).min() > 0
