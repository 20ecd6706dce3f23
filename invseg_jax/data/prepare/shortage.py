"""Cases that would take more memory than there is: each is one line, and the others go on."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Sequence

from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.data.prepare.case_memory import Windows, case_demand
from invseg_jax.data.volumes.grid import along
from invseg_jax.devices.main_memory import available
from invseg_jax.errors import UserError
from invseg_jax.experiment import Preprocessing
from invseg_jax.files.byte_size import show_size

# Any process that still runs has this much: it need not be looked up.
_LITTLE = 64 << 20
# So many voxels of the network's grid for one voxel of the file make no sense: ten times as fine
# along each axis. Such a grid may fit into memory and still take days.
_FINEST = 1000


def shortage(
    dataset: Dataset,
    case: Case,
    settings: Sequence[Preprocessing],
    windows: Windows | None = None,
) -> str | None:
    """Tells in one line that a case would take more memory than there is.

    So does a case whose network's grid has more than `_FINEST` voxels for each voxel of the image.

    Args:
        dataset: as of `case_demand`.
        case: as of `case_demand`.
        settings: how each of the networks has it prepared.
        windows: as of `case_demand`.

    Returns:
        The line. None where the case fits, and where a header cannot be read: reading the file then
        tells why.
    """
    try:
        demand = max(
            (case_demand(dataset, case, each, windows) for each in settings),
            key=lambda demand: demand.bytes,
        )
    except UserError:
        return None
    senseless = math.prod(demand.size) > _FINEST * math.prod(demand.shape)
    if demand.bytes <= _LITTLE and not senseless:
        return None
    free = available()
    # Where the free memory is not known: no process has a larger address space.
    if demand.bytes <= (sys.maxsize >> 16 if free is None else free) and not senseless:
        return None
    outputs = "" if windows is None else f", {windows.outputs} outputs"
    there = "" if free is None else f", {show_size(free)} are free"
    large = f"would take {_size(demand.bytes)} (grid {along(demand.size)}{outputs})"
    file = f"the file has {along(demand.shape)} voxels of {along(demand.spacing)} mm"
    if senseless:
        return (
            f"{large}, more than {_FINEST} voxels for each voxel of the image; {file}: mend the "
            "spacing in its header, or resample the image"
        )
    remedy = "crop or resample the image, or take a machine with more memory"
    return f"{large}{there}; {file}: {remedy}"


def refuse_shortage(
    dataset: Dataset,
    case: Case,
    settings: Sequence[Preprocessing],
    windows: Windows | None = None,
) -> None:
    """Refuses a case that would take more memory than there is; see `shortage`.

    Raises:
        UserError: it would; the message names the case.
    """
    if text := shortage(dataset, case, settings, windows):
        raise UserError(f"case {case.id}: {text}")


@contextlib.contextmanager
def one_line_for_memory(id: str) -> Iterator[None]:
    """Turns memory that runs out while the block runs into one line that names the case.

    Raises:
        UserError: memory ran out.
    """
    try:
        yield
    except MemoryError as error:
        raise UserError(f"case {id}: {ran_out(error)}") from None


def ran_out(error: MemoryError) -> str:
    """The message for memory that ran out."""
    reason = f" ({' '.join(str(error).split())})" if str(error) else ""
    return f"memory ran out{reason}; crop or resample the image, or take a machine with more memory"


def _size(size: int) -> str:
    """As `show_size`, and short however large."""
    return show_size(size) if size < 1 << 60 else f"{size / 2**40:.2g} TiB"
