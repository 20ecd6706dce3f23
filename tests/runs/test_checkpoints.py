import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.devices import mesh
from invseg_jax.errors import UserError
from invseg_jax.runs.checkpoints import Checkpoints
from invseg_jax.runs.train_state import TrainState
from invseg_jax.training.optimiser import first_state
from tests.runs.small_checkpoints import (
    OPTIMISER,
    assert_same_bits,
    contents,
    new_batches,
    some_params,
    some_state,
)


@pytest.fixture
def batches(cases) -> Iterator[dict[str, np.ndarray]]:
    return new_batches(cases)


@pytest.mark.parametrize("threads", [0, 2])
def test_state_and_data_come_back_bit_for_bit(cases, tmp_path: Path, threads: int):
    saved, batches = some_state(seed=2**31), new_batches(cases, threads)
    for _ in range(3):
        next(batches)
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(3, saved, batches)
        expected = [next(batches)["image"] for _ in range(3)]
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        assert checkpoints.latest() == 3
        again = new_batches(cases, threads)
        restored = checkpoints.restore(3, some_state(seed=0), again)
    assert_same_bits(restored, saved)
    np.testing.assert_array_equal([next(again)["image"] for _ in range(3)], expected)


def test_a_restored_state_lies_where_the_new_one_does(written: Path):
    devices = mesh.make_mesh(2, 2)
    like = jax.device_put(some_state(), mesh.replicated(devices))
    with Checkpoints(written, read_only=True) as checkpoints:
        restored = checkpoints.restore(7, like)
    for leaf in jax.tree.leaves(restored):
        assert leaf.sharding == mesh.replicated(devices)
    assert restored.step == 7


def test_an_earlier_checkpoint_and_no_data(written: Path, batches):
    with Checkpoints(written, read_only=True) as checkpoints:
        assert checkpoints.restore(4, some_state()).step == 0


def test_the_average_is_read_alone_and_without_a_part(cases, tmp_path: Path):
    params = some_params()
    of_training = params | {"vae": {"bias": jnp.ones(3)}}
    state = first_state(of_training, OPTIMISER, 0)
    averaged = jax.tree.map(lambda a: a + jnp.ones_like(a), of_training)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, replace(state, averaged=averaged), new_batches(cases))
    del averaged["vae"]
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        found = checkpoints.restore_averaged(3, params, without="vae")
        assert jax.tree.structure(found) == jax.tree.structure(averaged)
        for leaf, expected in zip(jax.tree.leaves(found), jax.tree.leaves(averaged), strict=True):
            np.testing.assert_array_equal(leaf, expected)
        for other in ("conv", "va"):
            with pytest.raises(UserError, match=r"averaged\.(conv\.kernel|vae\.bias) is"):
                checkpoints.restore_averaged(3, params, without=other)


def test_as_many_are_kept_as_asked_for(tmp_path: Path, batches):
    state = some_state()
    for keep, left in ((2, ["3", "4"]), (1, ["4"])):
        with Checkpoints(tmp_path / str(keep), keep=keep) as checkpoints:
            for step in range(1, 5):
                checkpoints.save(step, state, batches)
        assert sorted(p.name for p in (tmp_path / str(keep)).iterdir()) == left


@pytest.mark.parametrize("keep", [0, -1])
def test_none_to_keep_is_refused(tmp_path: Path, keep: int):
    with pytest.raises(UserError, match=f"config.keep is {keep}"):
        Checkpoints(tmp_path / "checkpoints", keep=keep)
    assert not (tmp_path / "checkpoints").exists()


def other_states() -> dict[str, tuple[TrainState, str]]:
    state, params = some_state(), some_params()
    as_double = params | {"odd": params["odd"].astype(jnp.bfloat16)}
    without = {name: value for name, value in params.items() if name != "odd"}
    return {
        "shape": (
            some_state(features=6),
            r"params\.conv\.kernel is float32\[3, 3, 3, 1, 4\] there "
            r"and float32\[3, 3, 3, 1, 6\] in the config",
        ),
        "more": (
            first_state(params | {"bias": jnp.zeros(3)}, OPTIMISER, 0),
            r"params\.bias is absent there and float32\[3\] in",
        ),
        "fewer": (
            first_state(without, OPTIMISER, 0),
            r"odd is float32\[5\] there and absent in",
        ),
        "type": (
            first_state(as_double, OPTIMISER, 0),
            r"params\.odd is float32\[5\] there and bfloat16\[5\] in",
        ),
        "key": (
            replace(state, key=jax.random.key(0, impl="rbg")),
            r"key is key<fry>\[\] there and key<rbg>\[\] in",
        ),
    }


@pytest.mark.parametrize("other", ["shape", "more", "fewer", "type", "key"])
def test_another_network_is_refused_by_the_name_of_what_differs(written: Path, cases, other: str):
    state, said = other_states()[other]
    before = contents(written)
    with Checkpoints(written, read_only=True) as checkpoints:
        with pytest.raises(UserError, match=f"/7 is of another network: .*{said}") as caught:
            checkpoints.restore(7, state, new_batches(cases))
    assert "\n" not in str(caught.value)
    assert contents(written) == before


@pytest.mark.parametrize(
    "pattern", ["state/d/*", "state/manifest.ocdbt", "described/metadata", "data/*.json"]
)
@pytest.mark.parametrize("damage", ["half", "empty", "missing"])
def test_a_damaged_checkpoint_is_one_line(
    copied: Path, cases, capfd: pytest.CaptureFixture, pattern: str, damage: str
):
    for file in (copied / "7").glob(pattern):
        content = file.read_bytes()
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    with Checkpoints(copied) as checkpoints:
        with pytest.raises(UserError, match="checkpoints/7 cannot be read.*delete") as caught:
            checkpoints.restore(7, some_state(), new_batches(cases))
    assert "\n" not in str(caught.value)
    # Nor does a background thread print anything.
    assert capfd.readouterr() == ("", "")
    # What the message says to do helps.
    shutil.rmtree(copied / "7")
    with Checkpoints(copied) as checkpoints:
        latest = checkpoints.latest()
        assert latest == 4
        checkpoints.restore(latest, some_state(), new_batches(cases))


@pytest.mark.parametrize("read_only", [False, True])
def test_what_a_killed_save_left_is_not_a_checkpoint(copied: Path, read_only: bool):
    left = copied / "9.orbax-checkpoint-tmp"
    shutil.copytree(copied / "7", left)
    shutil.rmtree(left / "described")
    leftover = contents(left).keys()
    with Checkpoints(copied, read_only=read_only) as checkpoints:
        assert checkpoints.latest() == 7
        assert checkpoints.restore(7, some_state()).step == 7
        time.sleep(0.3)  # Orbax deletes in the background.
    # Who only reads must not delete it: it may be the save under way of a training.
    if read_only:
        assert contents(left).keys() == leftover


def test_saving_goes_on_after_a_killed_save(copied: Path, batches):
    shutil.copytree(copied / "7", copied / "9.orbax-checkpoint-tmp")
    with Checkpoints(copied) as checkpoints:
        checkpoints.save(9, some_state(), batches)
        checkpoints.wait()
        assert checkpoints.latest() == 9
    assert sorted(p.name for p in copied.iterdir()) == ["7", "9"]


def test_reading_changes_nothing(written: Path):
    before = contents(written)
    with Checkpoints(written, read_only=True) as checkpoints:
        checkpoints.restore(7, some_state())
    assert contents(written) == before
    assert sorted(p.name for p in written.iterdir()) == ["4", "7"]


def test_a_checkpoint_that_is_not_there(written: Path):
    with Checkpoints(written, read_only=True) as checkpoints:
        with pytest.raises(UserError, match="checkpoints/5 cannot be read"):
            checkpoints.restore(5, some_state())
