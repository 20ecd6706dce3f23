import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.experiment import BranchSettings
from invseg_jax.models import VAEOutputs
from invseg_jax.training.reconstruction import kl_divergence, with_reconstruction


@pytest.mark.parametrize(("n", "latent"), [(1, 1), (3, 7)])
def test_the_divergence_is_the_formula(n, latent):
    mean, log_variance = np.random.default_rng(n).normal(size=(2, n, latent))
    total = 0.0
    for mu, s in zip(mean.ravel(), np.exp(log_variance.ravel() / 2), strict=True):
        total += mu**2 + s**2 - np.log(s**2) - 1
    found = kl_divergence(jnp.asarray(mean, "f4"), jnp.asarray(log_variance, "f4"), voxels=50)
    np.testing.assert_allclose(found, total / n / 50, rtol=1e-5)


def test_the_divergence_from_itself_is_zero():
    nothing = jnp.zeros((2, 5))
    assert kl_divergence(nothing, nothing, voxels=8) == 0
    gradient = jax.grad(kl_divergence, argnums=(0, 1))(nothing, nothing, 8)
    assert not any(np.any(g) for g in gradient)


def test_the_terms_are_added_with_their_weights():
    rng = np.random.default_rng(0)
    image, other = (jnp.asarray(rng.normal(size=(2, 3, 4, 5, 2)), jnp.float32) for _ in range(2))
    vae = VAEOutputs(other, jnp.ones((2, 4)), jnp.zeros((2, 4)))
    loss, terms = with_reconstruction(
        jnp.asarray(3.0), vae, image, BranchSettings(reconstruction=0.5, kl=10)
    )
    error = np.square(np.asarray(image, np.float64) - np.asarray(other, np.float64)).mean()
    np.testing.assert_allclose(terms["reconstruction"], error, rtol=1e-5)
    np.testing.assert_allclose(terms["kl"], 4 / 60, rtol=1e-5)
    np.testing.assert_allclose(loss, 3 + 0.5 * error + 10 * 4 / 60, rtol=1e-5)
    assert with_reconstruction(jnp.asarray(3.0), None, image, BranchSettings()) == (3.0, {})
