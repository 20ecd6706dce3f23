from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from invseg_jax.inference.sliding_window import sliding_window
from invseg_jax.layers.execution import Execution
from invseg_jax.models import CicekUNet3D, CicekUNet3DSettings


def network(**settings: Any) -> CicekUNet3D:
    how = {"execution": settings.pop("execution")} if "execution" in settings else {}
    settings = {"channels": (4, 8)} | settings
    return CicekUNet3D(2, 3, CicekUNet3DSettings(**settings), **how, rngs=nnx.Rngs(0))


def test_it_has_the_parameters_and_the_tiles_of_the_paper():
    model: Any = nnx.eval_shape(lambda: CicekUNet3D(3, 3, rngs=nnx.Rngs(0)))
    sizes = {path: weights.size for path, weights in nnx.to_flat_state(nnx.state(model))}
    assert sum(size for path, size in sizes.items() if "norms" not in path) == 19_069_955
    x = jax.ShapeDtypeStruct((1, 132, 132, 116, 3), jnp.float32)
    assert nnx.eval_shape(lambda model, x: model(x), model, x).shape == (1, 44, 44, 28, 3)
    assert model.output_size((132, 132, 116)) == (44, 44, 28)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_sizes_that_fit_are_known_beforehand(levels):
    model = network(channels=(2, 4, 8)[:levels])
    for size in range(1, 60, 3):
        x = jax.ShapeDtypeStruct((1, size, size, size, 2), jnp.float32)
        n, fits = size, True
        for level in range(levels):
            n -= 4
            fits &= n > 0 and (level == levels - 1 or n % 2 == 0)
            n = n // 2 if level < levels - 1 else n
        for _ in range(levels - 1):
            n = 2 * n - 4
        if fits and n > 0:
            assert model.output_size([size]) == (n,)
            assert nnx.eval_shape(lambda model, x: model(x), model, x).shape[1] == n
        else:
            with pytest.raises(ValueError, match=f"^{size} voxels do not fit {levels} levels"):
                model.output_size([size])


def test_one_level_is_two_valid_convolutions():
    model = network(channels=(4,), batch_norm=False)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 7, 6, 8, 2)), jnp.float32)
    y = x
    for conv in model.encoder[0].convs:
        kernel = conv.weights.transpose(3, 0, 1, 2, 4)
        dimensions = ("NDHWC", "DHWIO", "NDHWC")
        y = lax.conv_general_dilated(y, kernel, (1, 1, 1), "VALID", dimension_numbers=dimensions)
        y = jnp.maximum(y, 0)
    np.testing.assert_allclose(jax.jit(model.__call__)(x), model.end(y), rtol=1e-4, atol=1e-5)


def test_tiles_give_what_the_whole_volume_gives():
    # Statistics of a tile are not those of a volume: without normalisation.
    model = network(batch_norm=False)
    image = np.random.default_rng(0).normal(size=(8, 12, 6, 2)).astype(np.float32)
    call = jax.jit(model.__call__)
    tiles = sliding_window(
        call, image, patch=(4, 4, 4), classes=3, overlap=0.0, margin=model.margin
    )
    padded = np.pad(image, [(8, 8)] * 3 + [(0, 0)])
    np.testing.assert_allclose(tiles, call(padded[None])[0], rtol=1e-4, atol=1e-5)


def test_what_only_invertible_layers_have_is_refused():
    with pytest.raises(ValueError, match="no invertible layers"):
        network(execution=Execution(memory="reversible"))
