"""The description of a checkpoint: its arrays by name, with shapes, types and checksums.

It stands in the checkpoint as JSON:

    {"format": 2,
     "step": the number of steps taken,
     "arrays": {NAME: [shape, type, crc32], ...},
     "batches": [crc32 of the data iterator's state, one a process],
     "checksum": crc32 of all this}

Checkpoints of earlier versions have {NAME: [shape, type], ...} and no checksums.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invseg_jax.files.json_values import JsonObject, json_checksum

FORMAT = 2


class DamagedDescription(ValueError):
    """The JSON is not what was written."""


@dataclass(frozen=True)
class Description:
    """The content of a checkpoint.

    Attributes:
        shapes: shape and type of each array: [[3, 4], "float32"].
        sums: crc32 of the bytes of each array; empty in checkpoints of earlier versions.
        batches: crc32 of the data iterator's state in each process; empty likewise.
        step: the number of steps taken, which the folder's name says too; None likewise.
    """

    shapes: dict[str, list]
    sums: dict[str, int]
    batches: tuple[int, ...] = ()
    step: int | None = None

    @property
    def verifiable(self) -> bool:
        """Whether it has checksums."""
        return bool(self.batches)

    @classmethod
    def of(
        cls, named: Mapping[str, jax.Array], batches: tuple[int, ...], step: int
    ) -> "Description":
        """Describes arrays that are to be saved; copies each to the host."""
        sums = {name: checksum(array) for name, array in named.items()}
        return cls(shapes(named), sums, batches, step)

    def to_json(self) -> JsonObject:
        """As it stands in the checkpoint."""
        arrays = {name: [*shape, self.sums[name]] for name, shape in self.shapes.items()}
        batches = list(self.batches)
        content = {"format": FORMAT, "step": self.step, "arrays": arrays, "batches": batches}
        return {**content, "checksum": json_checksum(content)}

    @classmethod
    def from_json(cls, text: bytes) -> "Description":
        """What `to_json` gave, or an earlier version's.

        Raises:
            DamagedDescription: it is not what either of them wrote.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DamagedDescription(f"it is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise DamagedDescription("it is no JSON object")
        if content and all(_is_shape(value) for value in content.values()):
            return cls(content, {})
        found = content.pop("checksum", None)
        if found != json_checksum(content):
            raise DamagedDescription("its checksum is wrong")
        if content.get("format") != FORMAT:
            raise DamagedDescription(
                f"it has the format {content.get('format')}, which a later version wrote"
            )
        # The first checkpoints of this format say no step.
        match {"step": None, **content}:
            case {
                "step": int() | None as step,
                "arrays": dict(arrays),
                "batches": [int(), *_] as batches,
            }:
                if all(_is_array(value) for value in arrays.values()):
                    return cls(
                        {name: value[:2] for name, value in arrays.items()},
                        {name: value[2] for name, value in arrays.items()},
                        tuple(batches),
                        step,
                    )
        raise DamagedDescription("it has not the parts that it must have")


def shapes(named: Mapping[str, jax.Array]) -> dict[str, list]:
    """Shape and type of each array, as JSON can hold them."""
    return {name: [list(a.shape), str(a.dtype)] for name, a in named.items()}


def checksum(array: jax.Array) -> int:
    """The crc32 of an array's bytes, in the order of its axes.

    Args:
        array: of any type, random keys too. One that is spread over several processes must be the
            same on all devices.
    """
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    if not array.is_fully_addressable:
        array = array.addressable_data(0)
    # On a CPU this is a view and no copy. It must not outlive this function: the next step reuses
    # the memory.
    content = np.ascontiguousarray(np.asarray(array)).reshape(-1).view(np.uint8)
    return zlib.crc32(content.data)


def checksum_of_state(state: object) -> int:
    """The crc32 of a data iterator's state: JSON values, or bytes."""
    return zlib.crc32(state) if isinstance(state, bytes) else json_checksum(state)


def _is_array(value: Any) -> bool:
    """Whether a value of the JSON is what this version writes of an array."""
    match value:
        case [*shape, int()]:
            return _is_shape(shape)
    return False


def _is_shape(value: Any) -> bool:
    """Whether a value of the JSON is what earlier versions wrote for an array."""
    match value:
        case [list(sizes), str()]:
            return all(type(size) is int for size in sizes)
    return False
