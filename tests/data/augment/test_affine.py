import jax.numpy as jnp
import numpy as np
from scipy.spatial.transform import Rotation

from invseg_jax.data.augment.affine import affine_matrix


def matrix_of(angles, scale=(1.0, 1.0, 1.0), spacing=(1.0, 1.0, 1.0)):
    return affine_matrix(jnp.float32(np.array(angles)), jnp.float32(np.array(scale)), spacing)


def test_matrix_is_rx_ry_rz_then_magnification():
    angles, scale = [0.3, -0.7, 1.1], [0.8, 1.25, 2.0]
    expected = Rotation.from_euler("XYZ", angles).as_matrix() @ np.diag(1 / np.array(scale))
    np.testing.assert_allclose(matrix_of(angles, scale), expected, atol=1e-6)


def test_rotation_acts_in_mm_on_anisotropic_voxels():
    angles, spacing = [0.4, 0.2, -0.9], (3.0, 1.0, 0.5)
    to_mm = np.diag(spacing)
    rotation = Rotation.from_euler("XYZ", angles).as_matrix()
    expected = np.linalg.inv(to_mm) @ rotation @ to_mm
    np.testing.assert_allclose(matrix_of(angles, spacing=spacing), expected, atol=1e-6)


def test_no_rotation_and_unit_scale_are_the_exact_identity():
    spacing = (0.7, 3.1, 1.3)
    np.testing.assert_array_equal(matrix_of([0, 0, 0], spacing=spacing), np.eye(3))
