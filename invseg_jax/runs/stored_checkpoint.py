"""One checkpoint on the disk, read and verified.

Whatever is wrong with one of its files becomes one line. Arrays that differ from what was saved are
never given to the caller.
"""

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from grain.checkpoint import CheckpointRestore

from invseg_jax.errors import UserError
from invseg_jax.runs import array_digests
from invseg_jax.runs.array_digests import DamagedDescription, Description
from invseg_jax.runs.orbax_noise import quiet
from invseg_jax.runs.parameter_names import earlier_names
from invseg_jax.runs.resumable import Resumable

# Errors that say nothing about the files, which may be readable at another time.
_PASSING = {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
_PASSING_WORDS = ("PERMISSION_DENIED", "Permission denied", "RESOURCE_EXHAUSTED", "Too many open")


class DamagedCheckpoint(UserError):
    """A checkpoint whose files are not as they were written; the checkpoint before may be good.

    Attributes:
        step: of the checkpoint.
        reason: what was found, in a few words.
    """

    def __init__(self, path: Path, reason: str):
        """Says which checkpoint and what was found."""
        super().__init__(
            f"checkpoint {path} cannot be read: it is damaged ({reason}); delete that folder to "
            "go on from the one before"
        )
        self.step, self.reason = int(path.name), reason


@dataclass(frozen=True)
class StoredCheckpoint:
    """The folder of one step.

    Attributes:
        path: the folder; its name is the step.
    """

    path: Path

    def describe(self) -> Description:
        """What the checkpoint holds.

        Raises:
            DamagedCheckpoint: its description is missing or damaged.
            UserError: the description cannot be read now, for lack of rights or memory.
        """
        try:
            return Description.from_json((self.path / "described" / "metadata").read_bytes())
        except DamagedDescription as error:
            raise DamagedCheckpoint(self.path, f"described/metadata: {error}") from error
        except OSError as error:
            raise self._fault(error) from error

    def read(
        self,
        wanted: Mapping[str, jax.Array],
        asked: Callable[[str], bool],
        batches: Resumable | None = None,
    ) -> tuple[dict[str, jax.Array], bool]:
        """Reads the arrays whose names `asked` accepts; they must be just the arrays `wanted`.

        In checkpoints of earlier versions arrays have other names (`parameter_names`).

        Args:
            wanted: by name, arrays of the same shapes, types and sharding; their values are not
                used.
            asked: whether to read the array of a name in the checkpoint.
            batches: the data iterator, put back to where it was; None to leave the data alone.

        Returns:
            The arrays by name, and whether they were verified: checkpoints of earlier versions have
            no checksums.

        Raises:
            DamagedCheckpoint: a file is missing or is not what was written. The iterator may have
                been moved.
            UserError: the checkpoint is of another network, or cannot be read now.
        """
        described = self.describe()
        if described.step not in (None, int(self.path.name)):
            raise DamagedCheckpoint(self.path, f"it is of step {described.step}")
        earlier = earlier_names(filter(asked, described.shapes), wanted)
        there = {name: earlier.get(name, name) for name in wanted}
        wanted = {there[name]: array for name, array in wanted.items()}
        self._refuse_another(
            {name: shape for name, shape in described.shapes.items() if asked(name)},
            array_digests.shapes(wanted),
        )
        if batches is not None:
            self._refuse_other_processes()
        found, fault = {}, None
        with quiet() as noise:
            try:
                found = self._restore(wanted, batches)
            except Exception as error:  # Orbax, TensorStore, Grain and JSON raise what they like
                fault = self._fault(error)
            if fault is not None:
                noise.fade()
        if fault is not None:
            raise fault
        self._verify(found, wanted, described)
        if batches is not None and described.verifiable:
            sum_of_state = array_digests.checksum_of_state(batches.get_state())
            if described.batches[jax.process_index()] != sum_of_state:
                raise DamagedCheckpoint(self.path, "the data iterator's state has changed")
        return {name: found[there[name]] for name in there}, described.verifiable

    def _restore(self, wanted: Mapping[str, jax.Array], batches: Resumable | None) -> Any:
        abstract = {
            name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
            for name, a in wanted.items()
        }
        items: dict[str, Any] = {
            "state": ocp.args.PyTreeRestore(
                abstract,
                ocp.checkpoint_utils.construct_restore_args(abstract),
                partial_restore=True,
            )
        }
        if batches is not None:
            items["data"] = CheckpointRestore(batches)
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            return checkpointer.restore(self.path.absolute(), args=ocp.args.Composite(**items))[
                "state"
            ]

    def _verify(self, found: Any, wanted: Mapping[str, jax.Array], described: Description) -> None:
        for name, like in wanted.items():
            array = found.get(name) if isinstance(found, Mapping) else None
            # In the place of an array that it does not find, Orbax leaves a shape without values.
            if not isinstance(array, jax.Array):
                raise DamagedCheckpoint(self.path, f"{name} is missing")
            if array.shape != like.shape or array.dtype != like.dtype:
                raise DamagedCheckpoint(self.path, f"{name} is {array.dtype}{list(array.shape)}")
            if described.verifiable and array_digests.checksum(array) != described.sums[name]:
                raise DamagedCheckpoint(self.path, f"{name} has changed")

    def _refuse_another(self, found: dict[str, list], wanted: dict[str, list]) -> None:
        for name in [*wanted, *found]:
            if found.get(name) != wanted.get(name):
                raise UserError(
                    f"checkpoint {self.path} is of another network: {name} is "
                    f"{_shape(found.get(name))} there and {_shape(wanted.get(name))} in the "
                    "config; use the config it was made with, or another --workdir"
                )

    def _refuse_other_processes(self) -> None:
        """Each process has a file of its own for the state of its data iterator."""
        own, count = jax.process_index(), jax.process_count()
        there = sorted(path.name for path in (self.path / "data").glob("process_*-of-*.json"))
        if there and f"process_{own}-of-{count}.json" not in there:
            of = there[0].removesuffix(".json").rpartition("-")[2]
            raise UserError(
                f"checkpoint {self.path} is of a training by {of} processes, now {count}; start "
                f"{of} processes to go on with it, or give another --workdir"
            )

    def _fault(self, error: Exception) -> UserError:
        """The error for an exception: whether the files are damaged, or cannot be read now."""
        said = first_line(error)
        passing = isinstance(error, MemoryError) or getattr(error, "errno", None) in _PASSING
        if passing or any(words in str(error) for words in _PASSING_WORDS):
            return UserError(f"checkpoint {self.path} cannot be read now ({said}); try again")
        return DamagedCheckpoint(self.path, said)


def _shape(described: list | None) -> str:
    return "absent" if described is None else f"{described[1]}{described[0]}"


def first_line(error: Exception) -> str:
    """What an exception says, short; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
