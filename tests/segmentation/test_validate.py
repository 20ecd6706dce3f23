"""What the VAE branch makes of held-out cases, as training shows it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from invseg_jax.data.prepare.cache import CachedCase
from invseg_jax.devices import mesh
from invseg_jax.experiment import Augmentation, BranchSettings, Experiment, base_experiment
from invseg_jax.inference.network import Network, as_network, build_model
from invseg_jax.segmentation import validate
from invseg_jax.segmentation.objective import SegmentationObjective
from invseg_jax.segmentation.validate import mean_reconstruction
from invseg_jax.training.optimiser import first_state
from invseg_jax.training.reconstruction import with_reconstruction
from invseg_jax.training.step import make_step

SIZE = (8, 8, 8)


def tiny_experiment(latent: int) -> Experiment:
    return base_experiment("FullInvRes").changed(
        {
            "model.settings.channels": (4, 8),
            "model.settings.couplings": 1,
            "model.settings.groups": 2,
            "data.patch": SIZE,
            "vae.latent": latent,
            "vae.reconstruction": 1.0,
        }
    )


def new_network(latent: int = 8) -> Network:
    """One modality, two classes; on one device."""
    experiment = tiny_experiment(latent)
    model = nnx.split(build_model(experiment, 1, 2))
    return as_network(experiment, *model, 2, mesh.make_mesh(1, 2))


@pytest.fixture(scope="module")
def network() -> Network:
    return new_network()


def bright_ball(seed: int, shape: tuple[int, int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """An image with a ball about its middle, and whether a voxel lies in that."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    centre = np.array(shape) / 2 + rng.uniform(-2, 2, 3)
    label = (np.linalg.norm(grid - centre, axis=-1) < rng.uniform(2, 4)).astype(np.int32)
    image = 2.0 * label - 0.5 + rng.normal(0, 0.1, shape)
    return image.astype(np.float32)[..., None], label


def batch_of_two(number: int) -> dict[str, jax.Array]:
    pairs = [bright_ball(2 * number + i) for i in range(2)]
    image, label = (jnp.asarray(np.stack(parts)) for parts in zip(*pairs, strict=True))
    return {"image": image, "label": label}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[CachedCase]:
    """Larger than the patch, as large, and smaller."""
    made = []
    for number, shape in enumerate([(11, 8, 5), (8, 8, 8), (9, 12, 10), (7, 7, 7)]):
        folder = tmp_path_factory.mktemp("case")
        np.save(folder / "image.npy", bright_ball(10_000 + number, shape)[0])
        made.append(CachedCase(f"case_{number}", folder, shape, 2))
    return made


def test_the_terms_are_those_of_the_training_on_the_central_patches(
    network: Network, cases: list[CachedCase]
):
    @jax.jit
    def terms_of(params: Any, image: jax.Array, number: int) -> dict[str, jax.Array]:
        key = jax.random.fold_in(jax.random.key(0), number)
        vae = nnx.merge(network.graph, params).outputs(image, key).vae
        return with_reconstruction(jnp.zeros(()), vae, image, BranchSettings())[1]

    middle = [
        np.pad(cases[0].image[1:9], [(0, 0), (0, 0), (1, 2), (0, 0)]),
        cases[1].image,
    ]
    both = [terms_of(network.params, jnp.asarray(image[None]), i) for i, image in enumerate(middle)]
    found = mean_reconstruction(network, cases[:2])
    assert found.keys() == {"reconstruction", "kl"}
    for name, value in found.items():
        np.testing.assert_allclose(value, np.mean([terms[name] for terms in both]), rtol=1e-5)


def test_it_is_compiled_once_and_the_same_at_every_call(
    cases: list[CachedCase], monkeypatch: pytest.MonkeyPatch
):
    traced = []

    def counted(*args: Any) -> Any:
        traced.append(args)
        return with_reconstruction(*args)

    monkeypatch.setattr(validate, "with_reconstruction", counted)
    network = new_network(latent=3)
    first = mean_reconstruction(network, cases)
    assert mean_reconstruction(network.with_params(network.params), cases) == first
    assert len(traced) == 1


def test_a_network_without_the_branch_has_no_terms(cases: list[CachedCase]):
    assert mean_reconstruction(new_network(latent=0), cases) == {}


def test_held_out_cases_come_back_better_after_some_steps(
    network: Network, cases: list[CachedCase]
):
    optimiser = optax.adam(1e-2)
    objective = SegmentationObjective.build(tiny_experiment(latent=8), network.graph, 1)
    objective = objective.with_augmentation(Augmentation.off())
    step = jax.jit(make_step(objective.loss, optimiser, average=0.9))
    state = first_state(network.params, optimiser, seed=0)
    before, history = mean_reconstruction(network, cases), []
    for number in range(60):
        state, metrics = step(state, batch_of_two(number))
        history.append({name: float(value) for name, value in metrics.items()})
    assert np.isfinite([list(row.values()) for row in history]).all()
    assert all(row["kl"] >= 0 for row in history)
    for row in history:
        rest = row["loss"] - row["reconstruction"] - 0.1 * row["kl"]
        assert 0 < rest < 4  # Dice and cross-entropy
    after = mean_reconstruction(network.with_params(state.averaged), cases)
    assert after["reconstruction"] < 0.7 * before["reconstruction"]
    assert 0 < after["kl"] < np.inf
