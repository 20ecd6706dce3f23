"""The rows of a step's memory, on networks small enough to count by hand."""

import dataclasses

import jax
import pytest
from flax import nnx

from invseg_jax.devices.compiled_memory import compiled_bytes
from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment, base_experiment
from invseg_jax.inference.network import build_model
from invseg_jax.memory_plan.measure import measure
from invseg_jax.memory_plan.platform import Platform
from invseg_jax.segmentation.objective import SegmentationObjective
from invseg_jax.training.program import TrainingProgram
from tests.compiling import IN_USE

CPU = Platform("cpu")


def tiny(batch: int = 1) -> Experiment:
    return base_experiment("FullInvRes").changed(
        {
            "model.settings.channels": (8,),
            "model.settings.couplings": 1,
            "model.settings.auxiliary": 0,
            "data.patch": (8, 8, 8),
            "data.batch": batch,
            "augment.affine_probability": 0.0,
        }
    )


def program() -> TrainingProgram:
    """The whole step, as `train` builds it."""
    experiment = tiny()
    graph, params = nnx.split(nnx.eval_shape(lambda: build_model(experiment, 2, 3)))
    objective = SegmentationObjective.build(experiment, graph, 2)
    devices = CPU.mesh(0, 1)
    return TrainingProgram.build(objective, params, experiment, experiment.optimiser, devices)


@pytest.fixture(scope="module")
def one():
    return measure(tiny(), CPU, 2, 3)


def test_rows_are_what_the_arrays_take(one):
    model = nnx.eval_shape(lambda: build_model(tiny(), 2, 3))
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model)))
    rows = one.rows
    assert one.count == count
    assert rows.parameters == rows.averaged == rows.gradients == 4 * count
    # Two moments a parameter, and a few counters.
    assert 8 * count < rows.optimiser <= 8 * count + 16
    assert rows.input == 8**3 * (2 * 4 + 4)
    assert rows.activations == 8**3 * 8 * 4
    assert rows.workspace > 0
    assert rows.total == sum(dataclasses.astuple(rows))
    assert (one.devices, one.refused) == (1, None)


def test_a_shared_memory_holds_the_state_once_a_device(one):
    two = measure(tiny(batch=2), CPU, 2, 3)
    assert two.devices == 2
    for name in ("parameters", "averaged", "optimiser", "gradients", "input", "activations"):
        assert getattr(two.rows, name) == 2 * getattr(one.rows, name), name


def test_a_step_fits_or_does_not(one):
    total = one.rows.total
    assert one.fits(total) and not one.fits(total - 1)
    assert not dataclasses.replace(one, refused="too large").fits(10 * total)


def test_the_quick_compilation_gives_the_same_memory():
    whole, quick = program(), CPU.quick
    assert quick is not None
    found = [whole.compile(options) for options in (IN_USE, IN_USE | quick)]
    assert len({compiled_bytes(compiled, whole.devices) for compiled in found}) == 1


@pytest.mark.parametrize(
    "message, size",
    [
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
            "space hbm. Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G.\nTotal",
            int(20.5 * 2**30),
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
            "temporaries (56.96G) exceeds available HBM (15.75G).",
            int(56.96 * 2**30),
        ),
        ("RESOURCE_EXHAUSTED: something else", 0),
    ],
)
def test_a_program_that_the_compiler_refuses(
    monkeypatch: pytest.MonkeyPatch, message: str, size: int
):
    def refuse(*_, **__):
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(jax.stages.Lowered, "compile", refuse)
    measured = measure(tiny(), CPU, 2, 3)
    assert measured.refused == message.partition("\n")[0]
    assert measured.rows.total == max(size, measured.rows.total - measured.rows.workspace)
    assert not measured.fits(2**40)
    with pytest.raises(UserError, match="too large for cpu: RESOURCE.* invseg_jax.plan") as caught:
        program().compile()
    assert "\n" not in str(caught.value)


def test_a_fault_of_the_compiler_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault of the compiler")

    monkeypatch.setattr(jax.stages.Lowered, "compile", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a fault"):
        measure(tiny(), CPU, 2, 3)
