import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import pytest
from flax import nnx

from invseg_jax.devices import mesh
from invseg_jax.errors import UserError, UserNotice
from invseg_jax.experiment import Experiment, base_experiment
from invseg_jax.files.json_values import json_checksum
from invseg_jax.inference.network import Network, as_network, build_model, load_network
from invseg_jax.inference.trained_run import DataDescription, SegmentationRun
from invseg_jax.runs import signed_json
from invseg_jax.runs.checkpoints import Checkpoints
from invseg_jax.training.optimiser import first_state, make_optimiser

DATA = DataDescription(
    layout="msd",
    root=None,
    modalities=("T1", "T2"),
    classes=("background", "front", "back"),
    values=(0, 1, 2),
    training=(("case_1", "aa"),),
    held_out=(),
)


TINY = base_experiment("FullInvRes").changed(
    {
        "model.settings.channels": (4, 8),
        "model.settings.couplings": 1,
        "model.settings.groups": 2,
        "data.patch": (8, 8, 8),
        "inference.batch": 2,
        "steps": 10,
        "optimiser.warmup": 2,
    }
)


def new_network(experiment: Experiment) -> Network:
    model = build_model(experiment, len(DATA.modalities), len(DATA.classes))
    devices = mesh.make_mesh(0, experiment.inference.batch)
    return as_network(experiment, *nnx.split(model), len(DATA.classes), devices)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Larger than a patch on two axes and smaller on one, none a multiple of anything."""
    return np.random.default_rng(0).normal(size=(11, 9, 7, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Network:
    return new_network(TINY)


@pytest.fixture(scope="module")
def run(network: Network, tmp_path_factory: pytest.TempPathFactory) -> SegmentationRun:
    """A run whose averaged parameters are not those of its last step."""
    run = SegmentationRun(tmp_path_factory.mktemp("run"))
    run.write(TINY, DATA)
    optimiser = make_optimiser(TINY.optimiser, TINY.steps)
    state = first_state(network.params, optimiser, seed=0)
    batches = iter(grain.MapDataset.source([0, 1]).to_iter_dataset())
    with Checkpoints(run.checkpoints) as checkpoints:
        checkpoints.save(5, state, batches)
        doubled = jax.tree.map(lambda p: 2 * p, network.params)
        checkpoints.save(10, replace(state, averaged=doubled), batches)
    return run


def test_probabilities_are_those_of_the_whole_image(network: Network, image: np.ndarray):
    p = network.probabilities(image)
    assert p.shape == (11, 9, 7, 3)
    assert p.dtype == np.float32
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=-1), 1, atol=1e-5)
    # The network has an opinion.
    assert np.ptp(p.argmax(axis=-1)) > 0
    np.testing.assert_array_equal(network.probabilities(image), p)


def test_windows_are_spread_over_the_devices(network: Network):
    assert network.placement.num_devices == 2
    alone = TINY.changed({"inference.batch": 1})
    assert new_network(alone).placement.num_devices == 1


def test_a_loaded_run_has_the_averaged_parameters_of_its_newest_checkpoint(
    network: Network, run: SegmentationRun, image: np.ndarray
):
    loaded, experiment, data = load_network(run.path)
    assert experiment == TINY
    assert data == DATA
    for found, first in zip(
        jax.tree.leaves(loaded.params), jax.tree.leaves(network.params), strict=True
    ):
        np.testing.assert_array_equal(found, 2 * first)
    doubled = network.with_params(jax.tree.map(lambda p: 2 * p, network.params))
    expected = doubled.probabilities(image)
    np.testing.assert_array_equal(loaded.probabilities(image), expected)
    assert np.abs(expected - network.probabilities(image)).max() > 1e-3


def test_mirroring_is_as_the_run_says_or_as_asked_for(run: SegmentationRun, tmp_path: Path):
    assert load_network(run.path)[0].mirrored == ()
    loaded, experiment, _ = load_network(run.path, (True, False, True))
    assert loaded.mirrored == (0, 2)
    assert experiment.inference.mirror == (True, False, True)
    # A run that was asked to, and one of an earlier version.
    for mirror, axes in (((False, True, False), (1,)), (None, ())):
        other = SegmentationRun(tmp_path / str(mirror))
        other.write(TINY if mirror is None else TINY.changed({"inference.mirror": mirror}), DATA)
        if mirror is None:
            written = json.loads((other.path / "config.json").read_text())
            del written["format"], written["digest"], written["inference"]["mirror"]
            (other.path / "config.json").write_text(json.dumps(written))
        other.checkpoints.symlink_to(run.checkpoints)
        assert load_network(other.path)[0].mirrored == axes
    assert load_network(other.path, (True, True, True))[0].mirrored == (0, 1, 2)


def test_mirror_images_that_a_run_has_not_learned_are_refused(run: SegmentationRun, tmp_path: Path):
    other = SegmentationRun(tmp_path / "other")
    changes = {"augment.flip": (0.5, 0.0, 0.0), "inference.mirror": (True, True, False)}
    other.write(TINY.changed(changes), DATA)
    other.checkpoints.symlink_to(run.checkpoints)
    with pytest.raises(UserError, match=f"^{other.path} was trained with .* along axis 0 alone"):
        load_network(other.path)
    with pytest.raises(UserError, match="--mirror 0,1,2 asks for all axes; give --mirror 0 or"):
        load_network(other.path, (True, True, True))
    assert load_network(other.path, (True, False, False))[0].mirrored == (0,)
    assert load_network(other.path, (False, False, False))[0].mirrored == ()


def test_loading_changes_nothing(run: SegmentationRun):
    # What a training that is still running has begun to write.
    begun = run.checkpoints / "15.orbax-checkpoint-tmp"
    begun.mkdir()
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*")}
    load_network(run.path)
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*")} == before
    begun.rmdir()


def test_a_folder_without_a_run(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match=f"{folder} holds no trained run"):
            load_network(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_checkpoint(tmp_path: Path):
    run = SegmentationRun(tmp_path)
    run.write(TINY, DATA)
    with pytest.raises(UserError, match=f"{tmp_path} holds no checkpoint yet"):
        load_network(tmp_path)
    assert not run.checkpoints.exists()
    (run.checkpoints / "5.orbax-checkpoint-tmp").mkdir(parents=True)
    with pytest.raises(UserError, match=f"{tmp_path} holds no checkpoint yet"):
        load_network(tmp_path)


def test_a_damaged_checkpoint_gives_the_one_before_and_a_warning(
    network: Network, run: SegmentationRun, tmp_path: Path
):
    other = SegmentationRun(shutil.copytree(run.path, tmp_path / "run"))
    assert load_network(other.path)[0].step == 10
    (other.checkpoints / "10" / "state" / "manifest.ocdbt").write_bytes(b"")
    before = {p: p.read_bytes() for p in other.path.rglob("*") if p.is_file()}
    with pytest.warns(
        UserNotice, match="checkpoints/10 is damaged .* checkpoint of step 5 is read"
    ):
        loaded = load_network(other.path)[0]
    assert loaded.step == 5
    for found, first in zip(
        jax.tree.leaves(loaded.params), jax.tree.leaves(network.params), strict=True
    ):
        np.testing.assert_array_equal(found, first)
    (other.checkpoints / "5" / "state" / "manifest.ocdbt").write_bytes(b"")
    with pytest.raises(UserError, match="are all damaged .*put back a copy, or train anew"):
        load_network(other.path)
    del before[other.checkpoints / "5" / "state" / "manifest.ocdbt"]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_training_that_saves_meanwhile_does_not_disturb(
    network: Network, run: SegmentationRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = SegmentationRun(shutil.copytree(run.path, tmp_path / "run"))
    restored, seen = Checkpoints.restore_averaged, []

    def deleted_meanwhile(self: Checkpoints, step: int, like: Any, *, without: str) -> Any:
        seen.append(step)
        if step == 10:
            (other.checkpoints / "10").rename(other.checkpoints / "15")
            renumber(other.checkpoints / "15")
            shutil.rmtree(other.checkpoints / "5")
        return restored(self, step, like, without=without)

    monkeypatch.setattr(Checkpoints, "restore_averaged", deleted_meanwhile)
    assert load_network(other.path)[0].step == 15
    assert seen == [10, 15]


def renumber(checkpoint: Path) -> None:
    """Makes a checkpoint's description that of the step which its folder's name says."""
    file = checkpoint / "described" / "metadata"
    content = json.loads(file.read_bytes()) | {"step": int(checkpoint.name)}
    del content["checksum"]
    checksum = json_checksum(content)
    file.write_text(json.dumps(content | {"checksum": checksum}))


def test_a_checkpoint_of_another_network(run: SegmentationRun, tmp_path: Path):
    other = SegmentationRun(tmp_path)
    other.write(TINY.changed({"model.settings.couplings": 2}), DATA)
    other.checkpoints.symlink_to(run.checkpoints)
    with pytest.raises(UserError, match=r"checkpoints/10 is of another network: averaged\."):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("inference.batch", 0, "config.inference.batch is 0; it must be at least 1"),
        (
            "inference.overlap",
            float("nan"),
            "config.inference.overlap is nan; give a number from 0 to below 1",
        ),
        ("seed", 2**64, "config.seed is 18446744073709551616; give a number from 0 to 4294967295"),
        ("seed", -1, "config.seed is -1; give a number from 0"),
        ("model.settings.convolutions", 10**30, "config.model: "),
    ],
)
def test_a_configuration_that_was_edited_is_checked(
    run: SegmentationRun, tmp_path: Path, key: str, value: float, said: str
):
    other = SegmentationRun(shutil.copytree(run.path, tmp_path / "run"))
    values: Any = other.read_config().to_json()
    *sections, name = key.split(".")
    inside = values
    for section in sections:
        inside = inside[section]
    inside[name] = value
    # As if a user had edited the file and put in its digest.
    (other.path / "config.json").write_text(signed_json.to_text(values))
    with pytest.raises(UserError, match=said) as caught:
        load_network(other.path)
    assert "\n" not in str(caught.value)


def test_no_numbers_are_no_background(network: Network, image: np.ndarray):
    nothing = network.with_params(jax.tree.map(lambda leaf: leaf * np.nan, network.params))
    with pytest.raises(UserError, match="gives no numbers for this image"):
        nothing.probabilities(image)
