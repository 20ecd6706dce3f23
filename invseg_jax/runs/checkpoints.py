"""Checkpoints of a run: the training state and the data iterator, through Orbax.

The state is kept as a flat mapping of names to arrays. Beside it stands, as JSON, the shape, type
and checksum of each array: a checkpoint of another network is refused by name before anything is
read, and a damaged checkpoint is found, so that the one before is read instead.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from grain.checkpoint import CheckpointSave
from jax.experimental import multihost_utils

from invseg_jax.errors import UserError
from invseg_jax.reversible.layer import Params, PyTree
from invseg_jax.runs import array_digests
from invseg_jax.runs.array_digests import Description
from invseg_jax.runs.durable_rename import DurableRename
from invseg_jax.runs.orbax_noise import Noise, quiet
from invseg_jax.runs.resumable import Resumable
from invseg_jax.runs.saved_steps import damaged_steps, saved_steps, set_aside
from invseg_jax.runs.stored_checkpoint import DamagedCheckpoint, StoredCheckpoint, first_line
from invseg_jax.runs.train_state import TrainState

Found = TypeVar("Found")
# How often a reader looks for the newest step again when a training deletes what it reads.
_LOOKS = 10


class Checkpoints:
    """The folder of a run's checkpoints, newest last; use as a context manager.

    A save is written to a temporary folder, flushed to the disk, and renamed when it is complete: a
    killed process or a power cut leaves the checkpoint before it as the newest.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 2,
        read_only: bool = False,
        say: Callable[[str], None] = print,
    ):
        """Opens the folder, and makes it where it is missing.

        Args:
            folder: where the checkpoints lie, one folder a step.
            keep: how many to keep, at least 1.
            read_only: changes nothing. Otherwise the first save deletes what a killed process left
                half written, and would delete the save under way of a training that still runs.
            say: told one line where an older checkpoint is read than the newest, and where a
                checkpoint has no checksums.

        Raises:
            UserError: `keep` is less than 1, or the folder cannot be made.
        """
        if keep < 1:
            raise UserError(f"config.keep is {keep}; keep at least 1 checkpoint")
        self.folder = folder
        self._keep, self._read_only, self._say = keep, read_only, say
        self._manager: ocp.CheckpointManager | None = None
        # Orbax logs in the background too, until a save has come to its end.
        self._quiet = contextlib.ExitStack()
        self._noise: Noise | None = None
        self._failed = False
        if not read_only:
            with self._one_line():
                folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Checkpoints":
        """Returns itself."""
        return self

    def __exit__(self, *exception) -> None:
        """Waits for a save under way, then closes.

        Raises:
            UserError: it could not be written. Not while another exception is on its way, which
                on a full disk says the same.
        """
        try:
            with self._quiet:
                try:
                    with self._one_line():
                        if self._manager is not None:
                            self._manager.close()
                finally:
                    # After a failure, TensorStore's threads report on for a moment.
                    if self._failed and self._noise is not None:
                        self._noise.fade()
        except Exception:
            if exception[0] is None:
                raise

    def latest(self) -> int | None:
        """The newest complete checkpoint's step, or None."""
        steps = saved_steps(self.folder)
        return steps[-1] if steps else None

    def save(self, step: int, state: TrainState, batches: Resumable) -> None:
        """Starts to save; returns when the arrays are copied, and writes on in the background.

        Args:
            step: the number of steps taken.
            state: the state after them.
            batches: the data iterator, before it yields the next batch.

        Raises:
            UserError: the disk is full, now or at the save before.
        """
        named = _named(state)
        sums = _of_all_processes(array_digests.checksum_of_state(batches.get_state()))
        described = Description.of(named, sums, step)
        with self._one_line():
            saved = self._opened().save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(named),
                    data=CheckpointSave(batches),
                    described=ocp.args.JsonSave(described.to_json()),
                ),
            )
        if not saved:
            raise UserError(
                f"step {step} is not saved: {self.folder} holds a later one; give another --workdir"
            )

    def wait(self) -> None:
        """Returns when the save under way is on the disk.

        Raises:
            UserError: it could not be written.
        """
        with self._one_line():
            if self._manager is not None:
                self._manager.wait_until_finished()

    def restore(self, step: int, like: TrainState, batches: Resumable | None = None) -> TrainState:
        """Reads a checkpoint into the structure, types and sharding of `like`.

        Args:
            step: which checkpoint.
            like: a state of the same network; its values are not used.
            batches: the data iterator, put back to where it was; None to leave the data alone.

        Raises:
            DamagedCheckpoint: its files are not what was written.
            UserError: the checkpoint is of another network, or cannot be read now.
        """
        named = self._read(step, _named(like), lambda name: True, batches)
        return jax.tree.unflatten(jax.tree.structure(like), list(named.values()))

    def restore_averaged(self, step: int, like: Params, *, without: str) -> Params:
        """Reads the averaged parameters alone, which is all that evaluation needs.

        Args:
            step: which checkpoint.
            like: parameters of the same network; their values are not used.
            without: the part of the network that `like` may lack: it is not read.

        Raises:
            DamagedCheckpoint: its files are not what was written.
            UserError: the checkpoint is of another network, or cannot be read now.
        """
        left_out = f"averaged.{without}."

        def asked(name: str) -> bool:
            return name.startswith("averaged.") and not name.startswith(left_out)

        named = self._read(step, _named(like, "averaged."), asked)
        return jax.tree.unflatten(jax.tree.structure(like), list(named.values()))

    def restore_newest(
        self, like: TrainState, batches: Resumable | None = None
    ) -> tuple[int, TrainState] | None:
        """Reads the newest checkpoint that is not damaged.

        The folders of newer steps, which are damaged, are renamed unless `read_only` was given.

        Args:
            like: as of `restore`.
            batches: as of `restore`.

        Returns:
            Its step and its state; None where nothing was ever saved.

        Raises:
            UserError: as `restore`; or all checkpoints are damaged, and nothing is renamed.
        """
        return self._newest(lambda step: self.restore(step, like, batches))

    def restore_newest_averaged(self, like: Params, *, without: str) -> tuple[int, Params] | None:
        """`restore_averaged` of the newest checkpoint that is not damaged; see `restore_newest`."""
        return self._newest(lambda step: self.restore_averaged(step, like, without=without))

    def _newest(self, read: Callable[[int], Found]) -> tuple[int, Found] | None:
        for _ in range(_LOOKS):
            steps, faults = saved_steps(self.folder), []
            for step in reversed(steps):
                found, fault = _or_fault(read, step)
                if fault is None:
                    self._tell(step, faults)
                    return step, found  # pyright: ignore[reportReturnType]
                # A training may have deleted the step meanwhile.
                if self._read_only and saved_steps(self.folder) != steps:
                    break
                faults.append(fault)
            else:
                self._refuse_a_folder_without_good_ones(faults)
                return None
        raise UserError(f"{self.folder} changes faster than it can be read; try again later")

    def _tell(self, step: int, faults: list[DamagedCheckpoint]) -> None:
        """Says which newer checkpoints could not be read, and renames them where that is right."""
        for fault in faults:
            text = f"checkpoint {self.folder / str(fault.step)} is damaged ({fault.reason})"
            if not self._read_only:
                text += f", kept as {self._set_aside(fault.step)}"
            self._say(f"{text}; the checkpoint of step {step} is read instead")

    def _set_aside(self, step: int) -> str:
        with self._one_line():
            name = ""
            if jax.process_index() == 0:
                name = set_aside(self.folder, step).name
            if jax.process_count() > 1:
                multihost_utils.sync_global_devices("damaged checkpoints have been renamed")
        return name

    def _refuse_a_folder_without_good_ones(self, faults: list[DamagedCheckpoint]) -> None:
        found = [f"{fault.step}: {fault.reason}" for fault in faults] or damaged_steps(self.folder)
        if not found:
            return
        raise UserError(
            f"the checkpoints in {self.folder} are all damaged ({', '.join(found)}); put back a "
            "copy, or train anew: delete that folder or give another --workdir"
        )

    def _read(
        self,
        step: int,
        wanted: dict[str, jax.Array],
        asked: Callable[[str], bool],
        batches: Resumable | None = None,
    ) -> dict[str, jax.Array]:
        path = self.folder / str(step)
        named, verified = StoredCheckpoint(path).read(wanted, asked, batches)
        if not verified:
            self._say(
                f"checkpoint {path} is of an earlier version and has no checksums: it is read "
                "without being verified"
            )
        return named

    def _opened(self) -> ocp.CheckpointManager:
        """Orbax's manager; what is only read needs none."""
        if self._manager is None:
            self._noise = self._quiet.enter_context(quiet())
            self._manager = ocp.CheckpointManager(
                self.folder.absolute(),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=self._keep,
                    cleanup_tmp_directories=True,
                    # A damaged checkpoint is no reason to save no other.
                    lightweight_initialize=True,
                    temporary_path_class=DurableRename,
                ),
            )
        return self._manager

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """Says what could not be saved; TensorStore's errors are `ValueError`s."""
        try:
            yield
        except (OSError, ValueError) as error:
            self._failed = True
            raise UserError(f"could not save to {self.folder}: {first_line(error)}") from error


def _or_fault(
    read: Callable[[int], Found], step: int
) -> tuple[Found | None, DamagedCheckpoint | None]:
    """What was read, or the damage that one of the processes that read together has found."""
    try:
        found, fault = read(step), None
    except DamagedCheckpoint as error:
        found, fault = None, error
    if any(_of_all_processes(int(fault is not None))) and fault is None:
        fault = DamagedCheckpoint(Path(str(step)), "another process cannot read it")
    return found, fault


def _of_all_processes(value: int) -> tuple[int, ...]:
    """The numbers, below 2^32, that all processes of a training give here."""
    if jax.process_count() == 1:
        return (value,)
    return tuple(multihost_utils.process_allgather(np.uint32(value)).tolist())


def _named(tree: PyTree, prefix: str = "") -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        prefix + jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }
