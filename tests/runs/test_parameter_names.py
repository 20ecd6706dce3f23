"""Checkpoints of the time when a trunk's layers were numbered are read as they were written."""

from pathlib import Path

import jax
import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.evaluation.prediction import predict
from invseg_jax.inference.network import load_network
from invseg_jax.runs.parameter_names import earlier_names
from tests import earlier_run
from tests.tiny_run import load, parameters
from tests.trained import train

TURNS = "trunk.params.{}.turns.0"
KERNEL = "mu.encoder.1.params.{}.convs.0.kernel"


def test_arrays_of_a_trunk_correspond_in_the_order_of_its_layers():
    names = {
        TURNS.format("deeper.down.rotation"): TURNS.format("1.0.1"),
        TURNS.format("deeper.inner.contracting.mixing"): TURNS.format("1.1.0.1"),
        TURNS.format("expanding.blending"): TURNS.format("2.0.0"),
        # Numbers sort by their values.
        **{KERNEL.format(f"branches.{i}"): KERNEL.format(f"1.{i}") for i in range(12)},
    }
    stored = sorted([*names.values(), "stem.kernel", "params.stem.kernel"])
    wanted = sorted([*names, "stem.kernel", "params.stem.kernel"])
    assert earlier_names(stored, wanted) == names
    assert earlier_names(wanted, wanted) == {}


def test_a_trunk_of_other_layers_has_no_earlier_names():
    wanted = [TURNS.format("contracting.mixing"), TURNS.format("expanding.blending")]
    assert earlier_names([TURNS.format("0.1")], wanted) == {}
    assert earlier_names([TURNS.format("0.1"), "trunk.params.1.convs.0.kernel"], wanted) == {}


@pytest.fixture
def unpacked(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray], np.ndarray]:
    return earlier_run.unpack(tmp_path)


def test_an_earlier_run_is_read_to_equal_arrays(unpacked):
    run, *_ = unpacked
    stored = {n: a for n, a in parameters(run).items() if n.startswith("averaged.")}
    read = {
        "averaged." + jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(load_network(run)[0].params)
    }
    names = earlier_names(stored, read)
    down = "averaged.trunk.params.deeper.down.rotation.turns.2.value"
    assert names[down] == "averaged.trunk.params.1.0.1.turns.2.value"
    assert {names.get(name, name) for name in read} == set(stored)
    for name, array in read.items():
        np.testing.assert_array_equal(array, stored[names.get(name, name)])


def test_an_earlier_run_predicts_what_it_did(unpacked, balls: Path, tmp_path: Path):
    run, _, expected = unpacked
    (target,) = predict([run], balls / "imagesTr" / "ball_000.nii.gz", tmp_path / "maps")
    # Another processor may round a voxel on the border the other way.
    assert (np.asarray(load(target).dataobj) != expected).mean() < 0.01


def test_an_earlier_run_is_resumed_as_if_nothing_had_changed(unpacked, balls: Path, assert_close):
    run, after, _ = unpacked
    train(earlier_run.config(), run, str(balls))
    resumed = {n: a for n, a in parameters(run).items() if n.startswith("params.")}
    assert any(".contracting.couplings.branches." in name for name in resumed)
    names = earlier_names(after, resumed)
    assert len(resumed) == len(after) and len(names) > 10
    expected = {name: after[names.get(name, name)] for name in resumed}
    assert_close(resumed, expected, relative=1e-4, least=0.1)


def test_a_checkpoint_of_another_network_is_still_refused(unpacked, balls: Path):
    run, *_ = unpacked
    config = earlier_run.config().changed({"model.settings.couplings": 1})
    with pytest.raises(UserError, match=r"another config\.model\.settings\.couplings"):
        train(config, run, str(balls))
