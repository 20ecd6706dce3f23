import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from invseg_jax.experiment import base_experiment
from invseg_jax.inference.network import build_model
from invseg_jax.memory_plan.residuals import kept_bytes, trunk_activations

X = jax.ShapeDtypeStruct((3, 5), jnp.float32)
W = jax.ShapeDtypeStruct((5, 7), jnp.float32)


@pytest.mark.parametrize(
    "f, count",
    [
        # The cotangents of w and x need x and w, both given.
        (lambda w, x, key: x @ w, 0),
        # sin keeps its derivative.
        (lambda w, x, key: jnp.sin(x @ w), 21),
        (lambda w, x, key: jnp.sin(jnp.sin(x) @ w), 15 + 15 + 21),
        # What depends on parameters alone is no activation.
        (lambda w, x, key: x @ jnp.sin(w), 0),
        # A checkpoint keeps its input alone.
        (lambda w, x, key: jax.checkpoint(lambda x: jnp.sin(jnp.sin(x) @ w))(x), 0),
    ],
)
def test_what_differentiation_keeps(f, count: int):
    assert kept_bytes(f, W, X, None) == 4 * count


def trunk(network: str, memory: str, couplings: int = 2, patch=(16, 16, 16)) -> int:
    changes = {"model.memory": memory, "data.patch": patch, "model.settings.channels": (8, 16, 32)}
    if network != "UNet3D":
        changes["model.settings.couplings"] = couplings
    experiment = base_experiment(network).changed(changes)
    model = nnx.eval_shape(lambda: build_model(experiment, 2, 3))
    return trunk_activations(experiment, model, 2)


ACTIVATION = 4 * 2 * 8 * 16**3  # float32, batch 2, 8 channels


@pytest.mark.parametrize("couplings", [1, 4])
def test_a_reversible_trunk_keeps_its_output_whatever_the_depth(couplings: int):
    assert trunk("FullInvRes", "reversible", couplings) == ACTIVATION


def test_remat_and_plain_grow_with_depth():
    for memory in ("remat", "plain"):
        few, many = trunk("FullInvRes", memory, 1), trunk("FullInvRes", memory, 3)
        # Every further coupling reads half of the stream, on both sides, at every level.
        assert many > few + 2 * ACTIVATION


def test_partly_reversible_trunks_keep_the_ends_of_their_levels():
    levels = sum(c * (16 // 2**i) ** 3 for i, c in enumerate((8, 16, 32)))
    assert trunk("PartialInvRes", "reversible", 4) == 2 * 4 * 2 * levels


def test_the_baseline_is_all_trunk():
    assert trunk("UNet3D", "remat") < trunk("UNet3D", "plain")


def test_a_patch_is_counted_as_it_is_padded():
    assert trunk("FullInvRes", "reversible", 2, (13, 14, 15)) == ACTIVATION
