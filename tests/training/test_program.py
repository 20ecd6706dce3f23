"""The program of shapes alone against the arrays that it is then given."""

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from invseg_jax.devices import mesh
from invseg_jax.experiment import Augmentation, Experiment, base_experiment
from invseg_jax.inference.network import build_model
from invseg_jax.segmentation.objective import SegmentationObjective
from invseg_jax.training.program import TrainingProgram

QUICK = base_experiment("FullInvRes").changed(
    {
        "model.settings.channels": (4,),
        "model.settings.couplings": 1,
        "model.settings.auxiliary": 0,
        "augment": Augmentation.off(),
        "data.patch": (4, 5, 6),
        "data.batch": 2,
        "steps": 10,
        "optimiser.warmup": 5,
    }
)


def program_of(experiment: Experiment, model: Any) -> TrainingProgram:
    graph, params = nnx.split(model)
    objective = SegmentationObjective.build(experiment, graph, 2)
    devices = mesh.make_mesh(2, 2)
    return TrainingProgram.build(objective, params, experiment, experiment.optimiser, devices)


@pytest.fixture(scope="module")
def program() -> TrainingProgram:
    return program_of(QUICK, nnx.eval_shape(lambda: build_model(QUICK, 2, 3)))


def test_shapes_are_those_of_the_arrays(program: TrainingProgram):
    model = build_model(QUICK, 2, 3)
    state = program.first_state(nnx.state(model))
    assert jax.tree.structure(state) == jax.tree.structure(program.state)
    for array, shape in zip(jax.tree.leaves(state), jax.tree.leaves(program.state), strict=True):
        assert (array.shape, array.dtype) == (shape.shape, shape.dtype)
        assert array.sharding.is_equivalent_to(shape.sharding, array.ndim)
    assert program.batch["image"].shape == (2, 4, 5, 6, 2)
    assert program.batch["label"].shape == (2, 4, 5, 6)
    assert program.learning_rate(9) < program.learning_rate(5)


def test_what_is_compiled_for_shapes_runs_on_arrays(program: TrainingProgram):
    compiled = program.compile()
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.normal(size=(2, 4, 5, 6, 2)).astype(np.float32),
        "label": rng.integers(0, 3, (2, 4, 5, 6)).astype(np.int32),
    }
    state = program.first_state(nnx.state(build_model(QUICK, 2, 3)))
    first = jax.tree.leaves(state.params)[0]
    for step in range(3):
        state, metrics = compiled(state, mesh.place_batch(batch, program.devices))
        assert np.isfinite(metrics["loss"])
        assert state.step == step + 1
    assert first.is_deleted()


def test_a_network_of_arrays_gives_the_same_program(program: TrainingProgram):
    whole = program_of(QUICK, build_model(QUICK, 2, 3))
    assert whole.state == program.state
    texts = [p.step.lower(p.state, p.batch).as_text() for p in (whole, program)]
    assert texts[0] == texts[1]
