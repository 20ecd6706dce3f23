"""What is wrong with the files of a checkpoint is found, and the checkpoint before it is taken."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.runs.checkpoints import Checkpoints
from invseg_jax.runs.stored_checkpoint import DamagedCheckpoint, StoredCheckpoint
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


def at_step(step: int) -> TrainState:
    """The state that the fixture `written` saves at a step."""
    return some_state() if step == 4 else replace(some_state(), step=jnp.asarray(7, jnp.int32))


def empty(path: Path) -> None:
    for file in path.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")


def one_bit_of_an_array(folder: Path, cases) -> None:
    """Step 7 holds another last bit of one number than its checksums say."""
    params = some_params()
    kernel = np.array(params["conv"]["kernel"])
    kernel.reshape(-1).view(np.uint32)[5] ^= 1
    params["conv"]["kernel"] = jnp.asarray(kernel)
    instead_of_step_7(folder, cases, replace(at_step(7), averaged=params))


def one_array_fewer(folder: Path, cases) -> None:
    params = {name: value for name, value in some_params().items() if name != "odd"}
    instead_of_step_7(folder, cases, replace(at_step(7), averaged=params))


def instead_of_step_7(folder: Path, cases, state: TrainState) -> None:
    other, batches = folder.parent / "other", new_batches(cases)
    next(batches)
    with Checkpoints(other) as checkpoints:
        checkpoints.save(7, state, batches)
    shutil.rmtree(folder / "7" / "state")
    shutil.copytree(other / "7" / "state", folder / "7" / "state")


def another_place_in_the_data(folder: Path, cases) -> None:
    file = folder / "7" / "data" / "process_0-of-1.json"
    state = json.loads(file.read_text())
    assert state == {"next_index": 1}
    file.write_text(json.dumps({"next_index": 2}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (one_bit_of_an_array, r"averaged\.conv\.kernel has changed"),
        (one_array_fewer, r"averaged\.odd is missing"),
        (another_place_in_the_data, "the data iterator's state has changed"),
    ],
)
def test_what_reads_well_and_is_not_what_was_written(
    copied: Path, cases, damage: Callable, said: str
):
    damage(copied, cases)
    with Checkpoints(copied, read_only=True) as checkpoints:
        with pytest.raises(DamagedCheckpoint, match=said) as caught:
            checkpoints.restore(7, some_state(), new_batches(cases))
        assert "\n" not in str(caught.value)
        # What is not read is not looked at.
        if damage is another_place_in_the_data:
            checkpoints.restore(7, some_state())
            checkpoints.restore_averaged(7, some_params(), without="vae")
        else:
            with pytest.raises(DamagedCheckpoint, match=said):
                checkpoints.restore_averaged(7, some_params(), without="vae")


def test_training_goes_on_from_the_one_before_and_saves_the_step_again(copied: Path, cases):
    one_bit_of_an_array(copied, cases)
    damaged, said, batches = contents(copied / "7"), [], new_batches(cases)
    with Checkpoints(copied, say=said.append) as checkpoints:
        found = checkpoints.restore_newest(some_state(seed=0), batches)
        assert found is not None and found[0] == 4
        assert_same_bits(found[1], at_step(4))
        assert batches.get_state() == {"next_index": 0}
        (line,) = said
        assert line.startswith(f"checkpoint {copied / '7'} is damaged (averaged.conv.kernel has")
        assert line.endswith("kept as 7.damaged; the checkpoint of step 4 is read instead")
        aside = contents(copied / "7.damaged")
        assert sorted(aside.values()) == sorted(damaged.values())
        checkpoints.save(7, at_step(7), batches)
    with Checkpoints(copied, say=said.append) as checkpoints:
        found = checkpoints.restore_newest(some_state(seed=0))
        assert found is not None and found[0] == 7
        assert_same_bits(found[1], at_step(7))
    assert len(said) == 1
    assert sorted(p.name for p in copied.iterdir()) == ["4", "7", "7.damaged"]


def test_a_checkpoint_under_the_number_of_another_step(copied: Path, cases):
    shutil.copytree(copied / "4", copied / "9")
    for read_only in (True, False):
        said = []
        with Checkpoints(copied, read_only=read_only, say=said.append) as checkpoints:
            averaged = checkpoints.restore_newest_averaged(some_params(), without="vae")
            found = checkpoints.restore_newest(some_state(), new_batches(cases))
        assert averaged is not None and averaged[0] == 7
        assert found is not None and found[0] == 7
        assert "/9 is damaged (it is of step 4)" in said[0]


def test_evaluation_takes_the_one_before_and_changes_nothing(copied: Path, cases):
    one_bit_of_an_array(copied, cases)
    before, said = contents(copied), []
    with Checkpoints(copied, read_only=True, say=said.append) as checkpoints:
        found = checkpoints.restore_newest_averaged(some_params(), without="vae")
    assert found is not None and found[0] == 4
    assert_same_bits(found[1], some_params())
    assert contents(copied) == before
    (line,) = said
    assert "/7 is damaged (averaged.conv.kernel has changed); the checkpoint of step 4 is" in line


@pytest.mark.parametrize("read_only", [False, True])
def test_where_all_are_damaged_nothing_begins_anew(copied: Path, cases, read_only: bool):
    for step in ("4", "7"):
        empty(copied / step / "state")
    before = contents(copied)
    # The same line each time.
    for _ in range(2):
        with Checkpoints(copied, read_only=read_only) as checkpoints:
            with pytest.raises(UserError, match=f"{copied} are all damaged .*7: .*4: ") as caught:
                checkpoints.restore_newest(some_state(), new_batches(cases))
        assert str(caught.value).endswith(
            "put back a copy, or train anew: delete that folder or give another --workdir"
        )
        assert "\n" not in str(caught.value)
        assert contents(copied) == before


def test_nothing_begins_anew_where_only_damaged_ones_are_left(copied: Path):
    shutil.rmtree(copied / "4")
    (copied / "7").rename(copied / "7.damaged")
    with Checkpoints(copied) as checkpoints:
        with pytest.raises(UserError, match=r"are all damaged \(7\.damaged\)"):
            checkpoints.restore_newest(some_state())


def test_a_folder_without_checkpoints(tmp_path: Path):
    for read_only in (True, False):
        with Checkpoints(tmp_path / "checkpoints", read_only=read_only) as checkpoints:
            assert checkpoints.restore_newest(some_state()) is None
            assert checkpoints.restore_newest_averaged(some_params(), without="vae") is None


def test_an_older_damaged_one_does_not_keep_from_saving(copied: Path, cases):
    empty(copied / "4")
    said = []
    with Checkpoints(copied, say=said.append) as checkpoints:
        found = checkpoints.restore_newest(some_state())
        assert found is not None and found[0] == 7
        checkpoints.save(9, some_state(), new_batches(cases))
    assert sorted(p.name for p in copied.iterdir()) == ["7", "9"]
    assert said == []


def test_another_network_is_no_damage(copied: Path, cases):
    before = contents(copied)
    with Checkpoints(copied) as checkpoints:
        with pytest.raises(UserError, match="/7 is of another network: params.conv.kernel is"):
            checkpoints.restore_newest(some_state(features=6))
    assert contents(copied) == before


def test_a_flipped_name_is_damage_and_no_other_network(copied: Path):
    file = copied / "7" / "described" / "metadata"
    file.write_text(file.read_text().replace("params.odd", "params.ode", 1))
    said = []
    with Checkpoints(copied, read_only=True, say=said.append) as checkpoints:
        found = checkpoints.restore_newest(some_state())
    assert found is not None and found[0] == 4
    assert "described/metadata: its checksum is wrong" in said[0]


def test_an_earlier_version_is_read_and_said_to_be_unverified(copied: Path, cases):
    file = copied / "7" / "described" / "metadata"
    arrays = json.loads(file.read_text())["arrays"]
    file.write_text(json.dumps({name: value[:2] for name, value in arrays.items()}))
    said = []
    with Checkpoints(copied, say=said.append) as checkpoints:
        found = checkpoints.restore_newest(some_state(), new_batches(cases))
    assert found is not None and found[0] == 7
    assert_same_bits(found[1], at_step(7))
    (line,) = said
    assert "/7 is of an earlier version and has no checksums" in line


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        OSError(24, "Too many open files"),
        MemoryError(),
        ValueError("PERMISSION_DENIED: Error opening local file"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
    ],
)
def test_what_may_pass_is_no_damage(
    copied: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_) -> None:
        raise error

    monkeypatch.setattr(StoredCheckpoint, "_restore", fail)
    before = contents(copied)
    with Checkpoints(copied) as checkpoints:
        with pytest.raises(UserError, match="/7 cannot be read now .*try again"):
            checkpoints.restore_newest(some_state())
    assert contents(copied) == before


def test_the_newest_is_read_again_where_a_training_deleted_it(
    copied: Path, cases, monkeypatch: pytest.MonkeyPatch
):
    read, seen = StoredCheckpoint.read, []

    def deleted_meanwhile(self: StoredCheckpoint, *arguments):
        seen.append(self.path.name)
        if seen == ["7"]:
            # As a training does that keeps one.
            with Checkpoints(copied, keep=1) as training:
                training.save(
                    9, replace(at_step(7), step=jnp.asarray(9, jnp.int32)), new_batches(cases)
                )
        return read(self, *arguments)

    monkeypatch.setattr(StoredCheckpoint, "read", deleted_meanwhile)
    said = []
    with Checkpoints(copied, read_only=True, say=said.append) as checkpoints:
        found = checkpoints.restore_newest(some_state())
    assert found is not None and found[0] == 9 and found[1].step == 9
    assert (seen, said) == (["7", "9"], [])


def test_a_folder_that_never_stands_still_ends(copied: Path, monkeypatch: pytest.MonkeyPatch):
    def always_another(self: StoredCheckpoint, *_):
        step = int(self.path.name)
        self.path.rename(self.path.with_name(str(step + 1)))
        raise DamagedCheckpoint(self.path, "gone")

    monkeypatch.setattr(StoredCheckpoint, "read", always_another)
    with Checkpoints(copied, read_only=True) as checkpoints:
        with pytest.raises(UserError, match="changes faster than it can be read; try again later"):
            checkpoints.restore_newest(some_state())


def test_a_training_by_other_processes_is_told(copied: Path, cases):
    data = copied / "7" / "data"
    (data / "process_0-of-1.json").rename(data / "process_0-of-2.json")
    with Checkpoints(copied) as checkpoints:
        with pytest.raises(UserError, match="/7 is of a training by 2 processes, now 1; start 2"):
            checkpoints.restore_newest(some_state(), new_batches(cases))


def test_a_step_that_is_older_than_the_newest_is_not_passed_over(copied: Path, cases):
    with Checkpoints(copied) as checkpoints:
        with pytest.raises(UserError, match="step 5 is not saved: .* holds a later one"):
            checkpoints.save(5, some_state(), new_batches(cases))


# Saves steps 1, 2, 3, ... as fast as it can, and keeps one. Each averaged number is the step's.
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
import grain, jax, jax.numpy as jnp
from invseg_jax.runs.checkpoints import Checkpoints
from tests.runs.small_checkpoints import some_state

batches, state = iter(grain.MapDataset.source([0, 1]).to_iter_dataset()), some_state()
with Checkpoints(Path(sys.argv[1]), keep=1) as checkpoints:
    for step in range(1, 61):
        averaged = jax.tree.map(lambda a: jnp.full_like(a, step), state.averaged)
        checkpoints.save(step, replace(state, averaged=averaged), batches)
        checkpoints.wait()
"""


@pytest.mark.slow
def test_reading_while_a_training_saves_and_deletes(repository: Path, tmp_path: Path):
    folder, read = tmp_path / "checkpoints", set()
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], cwd=repository)
    try:
        while writer.poll() is None:
            said = []
            with Checkpoints(folder, read_only=True, say=said.append) as checkpoints:
                found = checkpoints.restore_newest_averaged(some_params(), without="vae")
            assert said == []
            if found is None:
                assert not read
                continue
            step, averaged = found
            read.add(step)
            for leaf in jax.tree.leaves(averaged):
                np.testing.assert_array_equal(leaf, jnp.full_like(leaf, step))
    finally:
        writer.kill()
        writer.wait()
    assert writer.returncode == 0
    assert len(read) > 5


def damaged_files(path: Path, rng: np.random.Generator, flips: int):
    """A file cut to half, emptied, deleted, and with one bit flipped at several places."""
    content = path.read_bytes()
    yield "half", content[: len(content) // 2]
    yield "empty", b""
    yield "missing", None
    for _ in range(flips if content else 0):
        flipped = bytearray(content)
        bit = int(rng.integers(8 * len(content)))
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(flipped)


@pytest.mark.slow
def test_each_file_of_a_checkpoint_damaged_in_each_way(
    cases, tmp_path: Path, capfd: pytest.CaptureFixture
):
    """The right arrays of the newest or of the one before, whatever happens to a file."""
    params = {"kernel": jnp.asarray(np.random.default_rng(3).normal(size=(40, 50)), jnp.float32)}
    states = {step: first_state(params, OPTIMISER, seed=step) for step in (4, 7)}
    states[7] = replace(states[7], averaged=jax.tree.map(lambda a: 2 * a, params))
    folder, batches, places = tmp_path / "checkpoints", new_batches(cases), {}
    with Checkpoints(folder) as checkpoints:
        for step, state in states.items():
            places[step] = batches.get_state()
            checkpoints.save(step, state, batches)
            next(batches)
    rng, outcomes = np.random.default_rng(0), {"newest": 0, "older": 0}
    for path in sorted(p for p in (folder / "7").rglob("*") if p.is_file()):
        right = path.read_bytes()
        for name, content in damaged_files(path, rng, flips=10):
            path.unlink() if content is None else path.write_bytes(content)
            again, said = new_batches(cases), []
            with Checkpoints(folder, read_only=True, say=said.append) as checkpoints:
                found = checkpoints.restore_newest(states[4], again)
                averaged = checkpoints.restore_newest_averaged(params, without="vae")
            assert found is not None and averaged is not None, (path, name)
            assert_same_bits(found[1], states[found[0]])
            assert_same_bits(averaged[1], states[averaged[0]].averaged)
            assert again.get_state() == places[found[0]], (path, name)
            assert len(said) == [found[0], averaged[0]].count(4)
            outcomes["newest" if found[0] == 7 else "older"] += 1
            path.write_bytes(right)
    assert min(outcomes.values()) > 50
    assert capfd.readouterr() == ("", "")
