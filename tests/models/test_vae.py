from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from invseg_jax.experiment import BranchSettings
from invseg_jax.layers.execution import Execution
from invseg_jax.models import FullInvResSettings, UNet3DSettings, VAESettings, build, find
from invseg_jax.models.vae import VAEBranch
from invseg_jax.training.losses import deeply_supervised
from invseg_jax.training.reconstruction import with_reconstruction
from tests import compiling

SETTINGS: dict[str, dict[str, Any]] = {
    "UNet3D": {"channels": (4, 8), "auxiliary": 0},
    "PartialInvRes": {
        "channels": (4, 8),
        "couplings": 1,
        "decoder_couplings": 1,
        "dropout": 0.2,
        "auxiliary": 0,
    },
    "FullInvRes": {"channels": (4, 8), "couplings": 1, "dropout": 0.2, "auxiliary": 0},
}
NAMES = sorted(SETTINGS)


def random(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def network(name: str, vae: VAESettings | None, **changes: Any) -> Any:
    """2 modalities and 3 classes."""
    settings = find(name).Settings(**(SETTINGS[name] | changes))
    return build(name, 2, 3, settings, vae=vae)


def branch(**changes: Any) -> VAEBranch:
    settings = VAESettings(size=(5, 4, 3), latent=3)
    how = {"groups": 1, "execution": Execution(), "rngs": nnx.Rngs(0)} | changes
    return VAEBranch(settings, 2, (4, 8), **how)


def named(tree: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
        for path, leaf in leaves
    }


@pytest.mark.parametrize("size", [(13, 8, 10), (1, 3, 16)])
@pytest.mark.parametrize("name", NAMES)
def test_the_image_comes_back_in_its_size(name, size):
    model = network(name, VAESettings(size, 5, widths=(2, 3, 4)), channels=(4, 8, 16))
    x, key = jnp.zeros((2, *size, 2)), jax.random.key(0)
    outputs = nnx.eval_shape(lambda model, x: model.outputs(x, key), model, x)
    assert outputs.logits.shape == (2, *size, 3)
    assert outputs.vae.image.shape == x.shape
    assert outputs.vae.mean.shape == outputs.vae.log_variance.shape == (2, 5)


def test_the_sizes_are_those_of_the_paper():
    # Myronenko 2018, table 1: 4 modalities of 160x192x128 voxels.
    settings = UNet3DSettings(channels=(32, 64, 128, 256))
    size = VAESettings((160, 192, 128))
    model: Any = nnx.eval_shape(lambda: build("UNet3D", 4, 3, settings, vae=size))
    numbers = 16 * 10 * 12 * 8
    assert model.vae.sizes == ((160, 192, 128), (80, 96, 64), (40, 48, 32), (20, 24, 16))
    assert model.vae.to_latent.kernel.shape == (numbers, 2 * 128)
    assert model.vae.from_latent.kernel.shape == (128, numbers)
    steps = [conv.kernel.shape[-2:] for conv in model.vae.ups]
    assert steps == [(64, 32), (128, 64), (256, 128), (16, 256)]
    assert [len(block.convs) for block in model.vae.blocks] == [2, 2, 2]
    assert model.vae.end.kernel.shape[-2:] == (32, 4)


@pytest.mark.parametrize("name", NAMES)
def test_without_weight_it_changes_nothing_of_the_network(name):
    x, label = random((1, 5, 4, 6, 2)), jnp.zeros((1, 5, 4, 6), jnp.int32).at[:, 2:].set(1)

    def loss_of(model):
        outputs = model.outputs(x, jax.random.key(1))
        loss, _ = deeply_supervised(outputs, label)
        return with_reconstruction(loss, outputs.vae, x, BranchSettings(reconstruction=0.0, kl=0.0))

    gradient = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    (loss, terms), with_branch = gradient(network(name, VAESettings((5, 4, 6), 3)))
    (expected, none), without = gradient(network(name, None))
    assert loss == expected and terms.keys() == {"reconstruction", "kl"} and none == {}
    trunk = named(with_branch)
    of_branch = [trunk.pop(path) for path in list(trunk) if path.startswith("vae.")]
    assert of_branch and not any(value.any() for value in of_branch)
    wanted = named(without)
    assert trunk.keys() == wanted.keys()
    for path, value in wanted.items():
        np.testing.assert_array_equal(trunk[path], value, err_msg=path)


def temporary_bytes(couplings: int) -> int:
    vae = VAESettings((24, 24, 24), 8)
    settings = FullInvResSettings(channels=(8, 16), couplings=couplings, auxiliary=0)
    model = build("FullInvRes", 1, 2, settings, vae=vae)

    def loss(model, x):
        outputs = model.outputs(x, jax.random.key(0))
        loss, _ = with_reconstruction(
            jnp.square(outputs.logits).mean(), outputs.vae, x, BranchSettings()
        )
        return loss

    step = jax.jit(jax.value_and_grad(loss)).lower(model, jnp.zeros((1, 24, 24, 24, 1)))
    return compiling.temporary_bytes(step)


def test_memory_does_not_grow_with_depth():
    assert temporary_bytes(30) <= 1.02 * temporary_bytes(2)


def test_what_is_kept_does_not_change_the_gradients(assert_close):
    deepest, key = random((2, 3, 2, 2, 8)), jax.random.key(0)

    @jax.jit
    def pull(branch, deepest):
        y, transpose = jax.vjp(lambda branch, deepest: branch(deepest, key), branch, deepest)
        dbranch, ddeepest = transpose(jax.tree.map(jnp.cos, y))
        return y, nnx.to_pure_dict(nnx.state(dbranch)), ddeepest

    def after_some_steps(memory):
        model = branch(execution=Execution(memory=memory))
        model.end.kernel[...] = random(model.end.kernel.shape)  # at 0 it lets no gradient through
        return model

    plain = pull(after_some_steps("plain"), deepest)
    assert_close(pull(after_some_steps("reversible"), deepest), plain)


def test_it_starts_with_the_mean_of_a_normalised_image_and_learns_from_there():
    deepest, image = random((2, 3, 2, 2, 8)), random((2, 5, 4, 3, 2))

    @jax.jit
    def step(branch):
        def error(branch):
            return jnp.square(branch(deepest, jax.random.key(0)).image - image).mean()

        error_before, gradient = jax.value_and_grad(error)(branch)
        return error_before, error(jax.tree.map(lambda w, g: w - 0.01 * g, branch, gradient))

    before, after = step(branch())
    assert before == pytest.approx(float(jnp.square(image).mean()), rel=1e-6)
    assert after < before


def test_the_latent_numbers_are_drawn_from_the_distribution():
    model, deepest = branch(), random((1, 3, 2, 2, 8))
    mean, log_variance = jax.jit(VAEBranch.encode)(model, deepest)
    drawn: list[jax.Array] = []
    model.decode = lambda z: drawn.append(z) or z  # pyright: ignore[reportAttributeAccessIssue]
    many = jnp.broadcast_to(deepest, (4000, *deepest.shape[1:]))
    model(many, jax.random.key(0))
    (z,) = drawn
    deviation = np.exp(0.5 * np.asarray(log_variance[0]))
    # Six standard errors of a mean, and of a deviation.
    np.testing.assert_array_less(abs(z.mean(0) - mean[0]), 6 * deviation / 4000**0.5)
    np.testing.assert_array_less(abs(z.std(0) / deviation - 1), 6 / 8000**0.5)


def test_the_variance_does_not_run_away():
    a = np.array([-1.0, 0.0, 1e4], np.float32)
    model, deepest = branch(), random((1, 3, 2, 2, 8))
    kernel, bias = model.to_latent.kernel, model.to_latent.bias
    kernel[...], bias[...] = kernel[...] * 0.0, jnp.append(jnp.zeros(3), a)

    @jax.jit
    def variance(model):
        return jax.vjp(lambda model: jnp.exp(model.encode(deepest)[1]).ravel(), model)

    found, pullback = variance(model)
    slope = np.exp(np.minimum(a, 0))
    np.testing.assert_allclose(found, np.where(a > 0, 1 + a, slope), rtol=1e-5)
    (gradient,) = pullback(jnp.ones(3))
    np.testing.assert_allclose(gradient.to_latent.bias[...][3:], slope, rtol=1e-5)


def test_it_rests_without_a_key_and_refuses_other_sizes():
    model = network("FullInvRes", VAESettings((8, 8, 8), 3))
    x = jnp.zeros((1, 4, 8, 8, 2))
    assert nnx.eval_shape(lambda model: model.outputs(x), model).vae is None
    with pytest.raises(ValueError, match=r"made for images of \(8, 8, 8\) .* got \(2, 4, 4\)"):
        nnx.eval_shape(lambda model: model.outputs(x, jax.random.key(0)), model)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="0 latent numbers"):
        VAESettings((8, 8, 8), 0)
    with pytest.raises(ValueError, match=r"widths \(4,\) of the VAE branch for 2 levels"):
        network("UNet3D", VAESettings((8, 8, 8), 3, widths=(4,)))
