"""Checkpoints of a run: the training state and the data iterator, through Orbax.

The state is kept as a flat mapping of names to arrays, and beside it, as JSON, each name's shape
and type: so that a checkpoint of another network is refused by name before anything is read.
"""

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from grain.checkpoint import CheckpointRestore, CheckpointSave

from invseg_jax.errors import UserError
from invseg_jax.training.state import TrainState

Described = dict[str, list]


class Checkpoints:
    """The folder of a run's checkpoints, newest last; use as a context manager.

    A save is written to a temporary folder and renamed when it is complete: a killed process leaves
    the checkpoint before it as the newest.
    """

    def __init__(self, folder: Path, *, keep: int = 2, read_only: bool = False):
        """Opens the folder, and makes it where it is missing.

        Args:
            folder: where the checkpoints lie, one folder a step.
            keep: how many to keep, at least 1.
            read_only: changes nothing. Otherwise what a killed process left half written is
                deleted, and so would be the save under way of a training that is still running.

        Raises:
            UserError: `keep` is less than 1.
        """
        if keep < 1:
            raise UserError(f"config.keep is {keep}; keep at least 1 checkpoint")
        self.folder = folder
        # Orbax warns about items it was told nothing of; all are named when they are read. And what
        # it raises it logs before, as an error with its traceback, in each thread that it passes.
        absl_logging.set_verbosity(absl_logging.FATAL)
        _mute_what_follows_a_failure()
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(read_only=True)
            if read_only
            else ocp.CheckpointManagerOptions(
                max_to_keep=keep, create=True, cleanup_tmp_directories=True
            ),
        )

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
            with self._one_line():
                self._manager.close()
        except Exception:
            if exception[0] is None:
                raise

    def latest(self) -> int | None:
        """The newest complete checkpoint's step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, batches: Any) -> None:
        """Starts to save; returns when the arrays are copied, and writes on in the background.

        Args:
            step: the number of steps taken.
            state: the state after them.
            batches: the data iterator, before it yields the next batch.

        Raises:
            UserError: the disk is full, now or at the save before.
        """
        named = _named(state)
        with self._one_line():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(named),
                    data=CheckpointSave(batches),
                    described=ocp.args.JsonSave(_described(named)),
                ),
            )

    def wait(self) -> None:
        """Returns when the save under way is on the disk.

        Raises:
            UserError: it could not be written.
        """
        with self._one_line():
            self._manager.wait_until_finished()

    def restore(self, step: int, like: TrainState, batches: Any | None = None) -> TrainState:
        """Reads a checkpoint into the structure, types and sharding of `like`.

        Args:
            step: which checkpoint.
            like: a state of the same network; its values are not used.
            batches: the data iterator, put back to where it was; None to leave the data alone.

        Raises:
            UserError: the checkpoint is of another network, or cannot be read.
        """
        wanted = _named(like)
        named = self._read(step, wanted, lambda name: True, batches)
        return jax.tree.unflatten(jax.tree.structure(like), [named[name] for name in wanted])

    def restore_averaged(self, step: int, like: Any, *, without: str) -> Any:
        """Reads the averaged parameters alone, which is all that evaluation needs.

        Args:
            step: which checkpoint.
            like: parameters of the same network; their values are not used.
            without: the part of the network that `like` may lack: it is not read.

        Raises:
            UserError: the checkpoint is of another network, or cannot be read.
        """
        wanted = _named(like, "averaged.")
        left_out = f"averaged.{without}."

        def asked(name: str) -> bool:
            return name.startswith("averaged.") and not name.startswith(left_out)

        named = self._read(step, wanted, asked)
        return jax.tree.unflatten(jax.tree.structure(like), [named[name] for name in wanted])

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """Says what could not be saved; TensorStore's errors are `ValueError`s."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise UserError(f"could not save to {self.folder}: {_first_line(error)}") from error

    def _read(
        self,
        step: int,
        wanted: Mapping[str, jax.Array],
        asked: Callable[[str], bool],
        batches: Any | None = None,
    ) -> dict[str, jax.Array]:
        """The arrays whose names are asked for, which must be those wanted."""
        abstract = {
            name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
            for name, a in wanted.items()
        }
        where = self.folder / str(step)
        try:
            described = self._manager.restore(
                step, args=ocp.args.Composite(described=ocp.args.JsonRestore())
            )["described"]
            found = {name: value for name, value in described.items() if asked(name)}
            _check(found, _described(wanted), where)
            state = ocp.args.PyTreeRestore(
                abstract,
                ocp.checkpoint_utils.construct_restore_args(abstract),
                partial_restore=True,
            )
            items: dict[str, Any] = {"state": state}
            if batches is not None:
                items["data"] = CheckpointRestore(batches)
            return self._manager.restore(step, args=ocp.args.Composite(**items))["state"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"checkpoint {where} cannot be read ({_first_line(error)}); "
                "delete that folder to go on from the one before"
            ) from error


@dataclass(frozen=True)
class _ClosedLoop:
    """Reports what cannot be raised, save calls into a closed event loop."""

    before: Callable[[Any], Any]

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self.before(unraisable)


def _mute_what_follows_a_failure() -> None:
    """Keeps the one line that says what is wrong from drowning in tracebacks.

    When one array cannot be read, Orbax closes its event loop; TensorStore's threads still report
    to it what becomes of all others. When one cannot be written, it forgets the others.
    """
    unawaited = r"coroutine '(async_serialize_|Store\.).*' was never awaited"
    warnings.filterwarnings("ignore", unawaited, RuntimeWarning)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # "exception was never retrieved"
    if not isinstance(sys.unraisablehook, _ClosedLoop):
        sys.unraisablehook = _ClosedLoop(sys.unraisablehook)


def _named(tree: Any, prefix: str = "") -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        prefix + jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }


def _described(named: Mapping[str, jax.Array]) -> Described:
    return {name: [list(a.shape), str(a.dtype)] for name, a in named.items()}


def _check(found: Described, wanted: Described, where: Path) -> None:
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"checkpoint {where} is of another network: {name} is "
                f"{_shape(found.get(name))} there and {_shape(wanted.get(name))} in the config; "
                "use the config it was made with, or another --workdir"
            )


def _shape(described: list | None) -> str:
    return "absent" if described is None else f"{described[1]}{described[0]}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
