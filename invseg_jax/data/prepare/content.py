"""What a scan is known by: its decoded voxels, in canonical axes, and its geometry.

A scan stays the same when its file is compressed anew, has another type or stores its axes in
another order. Two digests are taken:

- of the scan: the voxels by their values and the spacing, in steps of about 1 %. The origin does
  not count: a scan whose header was mended is still the same scan. It finds scans that are in a
  data set twice, and tells whether a network was trained on one.
- of all that a prepared case depends on: the same voxels, the exact affine, and whether the file
  says which side is left.

Both are taken where a file is read anyway, and remembered (`scan_memory`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from invseg_jax.data.layouts.case import Case
from invseg_jax.data.prepare.file_digest import case_file_digest, images_file_digest
from invseg_jax.data.prepare.geometry import canonical_axes
from invseg_jax.data.prepare.scan_memory import file_states, keep, recall
from invseg_jax.data.volumes.grid import Axes
from invseg_jax.data.volumes.nifti import Volume, read_volume
from invseg_jax.errors import UserError

# By what a run knows its cases; runs of earlier versions knew them by the bytes of the files.
VOXELS, FILES = "voxels", "files"

# Steps in the logarithm of a spacing. No border between two steps may lie where spacings often are.
# With this offset, usual spacings (1, 0.9375, 3.27 mm) are at least 3 % of a step away from a
# border, and multiples of 0.01 mm farther than float32 rounds.
_STEP, _OFFSET = math.log(1.01), 0.54
# So many voxels are hashed at a time: they fit into the processor's cache.
_SLAB = 1 << 18
# Above, float32 does not hold all whole numbers.
_WHOLE = 1 << 24


@dataclass(frozen=True)
class Channel:
    """One modality of a file.

    Attributes:
        scan: digest of its voxels and its spacing.
        minimum: smallest value, in the file's units.
        maximum: largest value.
    """

    scan: str
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Content:
    """What is in a volume.

    Attributes:
        channels: one in a file of three axes, else one for each place along the fourth axis.
        exact: digest of all that a prepared case depends on.
        oriented: whether the file says which side is left, see `Volume`.
        notes: what a user should know about the header, see `Volume`.
    """

    channels: tuple[Channel, ...]
    exact: str
    oriented: bool
    notes: tuple[str, ...]

    @property
    def scan(self) -> str | None:
        """Digest by which the same scan is found again; None where all its voxels are equal."""
        if all(channel.minimum == channel.maximum for channel in self.channels):
            return None
        return _join(channel.scan for channel in self.channels)

    @classmethod
    def of(cls, volume: Volume) -> Content:
        """Takes the digests of a volume."""
        array, own = volume.channels, volume.spacing
        axes, mirrored = (0, 1, 2), (False, False, False)
        if volume.oriented:
            axes, mirrored = canonical_axes(volume.affine)
        canonical = Axes(axes, mirrored).bring(array)
        spacing = [str(math.floor(math.log(own[axis]) / _STEP + _OFFSET)) for axis in axes]
        channels = []
        for index in range(array.shape[3]):
            low, high = float(array[..., index].min()), float(array[..., index].max())
            voxels = _voxels_digest(canonical[..., index], low, high)
            channels.append(Channel(_join((voxels, *spacing)), low, high))
        affine = (volume.affine + 0.0).astype("<f8").tobytes().hex()  # + 0.0: no negative zero
        parts = (*(c.scan for c in channels), str(array.shape), affine, str(volume.oriented))
        return cls(tuple(channels), _join(parts), volume.oriented, tuple(volume.notes))

    @classmethod
    def _from_json(cls, values: Any) -> Content | None:
        """What `asdict` made of a content, or None where the values are something else."""
        match values:
            case {
                "channels": [_, *_] as channels,
                "exact": str(exact),
                "oriented": bool(oriented),
                "notes": list(notes),
            } if all(isinstance(note, str) for note in notes):
                found = [_channel(channel) for channel in channels]
                if None not in found:
                    return cls(tuple(filter(None, found)), exact, oriented, tuple(notes))
        return None


def _channel(values: Any) -> Channel | None:
    match values:
        case {
            "scan": str(scan),
            "minimum": int() | float() as minimum,
            "maximum": int() | float() as maximum,
        }:
            return Channel(scan, minimum, maximum)
    return None


def known_content(path: Path) -> Content | None:
    """What is in a volume; None where that is not remembered, or its files have changed since."""
    states = file_states(path)
    return None if states is None else Content._from_json(recall(states))


def read_with_content(path: Path) -> tuple[Volume, Content]:
    """Reads a volume, and remembers what is in it.

    Raises:
        UserError: as `read_volume`.
    """
    before = file_states(path)
    volume = read_volume(path)
    content = Content.of(volume)
    if before is not None and file_states(path) == before:
        keep(before, asdict(content))
    return volume, content


def volume_content(path: Path) -> Content:
    """What is in a volume, which is read where that is not remembered.

    Raises:
        UserError: as `read_volume`.
    """
    return known_content(path) or read_with_content(path)[1]


def case_digest(case: Case, known_by: str = VOXELS) -> str:
    """Digest of all that a prepared case depends on: its images and its label map.

    Args:
        case: its files are read where their content is not remembered.
        known_by: how the run at hand knows its cases: `VOXELS` or `FILES`.

    Raises:
        UserError: a file is missing or cannot be read; the message names the case.
    """
    if _by_files(known_by):
        return case_file_digest(case)
    try:
        parts = [f"image {volume_content(path).exact}" for path in case.images]
        if case.label is not None:
            parts.append(f"label {volume_content(case.label).exact}")
    except UserError as error:
        raise UserError(f"case {case.id}: {error}") from error
    return _join(parts)


def images_digest(case: Case, known_by: str = VOXELS) -> str:
    """Digest of a case's scans: it stays where the label map or an origin is mended.

    It is the same whether the modalities are in one file or in one file each.

    Args:
        case: as of `case_digest`.
        known_by: as of `case_digest`.

    Raises:
        UserError: as `case_digest`.
    """
    if _by_files(known_by):
        return images_file_digest(case)
    try:
        contents = [volume_content(path) for path in case.images]
    except UserError as error:
        raise UserError(f"case {case.id}: {error}") from error
    return _join(channel.scan for content in contents for channel in content.channels)


def _by_files(known_by: str) -> bool:
    if known_by not in (VOXELS, FILES):
        raise UserError(
            f"data.json: known_by is {known_by!r}, not {VOXELS!r} or {FILES!r}; restore the file"
        )
    return known_by == FILES


def _voxels_digest(array: np.ndarray, low: float, high: float) -> str:
    """SHA-256 of the values of an array (D, H, W), whatever its type and its order in memory.

    The values are brought to the smallest type that holds all of them, so that less is hashed.
    """
    for dtype in ("<u1", "<i2"):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            found = _whole_digest(array, dtype)
            if found is not None:
                return found
            break
    digest = _named("<f4", array)
    for slab in _slabs(array):
        # + 0 removes negative zeros. Most files have this order, so few arrays are transposed.
        values = np.add(slab, np.float32(0), dtype="<f4", order="F", casting="same_kind")
        digest.update(values.T.data)
        if slab.dtype.kind in "iu":
            _add_what_float32_rounds(digest, slab, values)
    return digest.hexdigest()


def _whole_digest(array: np.ndarray, dtype: str) -> str | None:
    """SHA-256 of values as integers of a type; None where some are not whole numbers."""
    digest = _named(dtype, array)
    for slab in _slabs(array):
        values = slab.astype(dtype, order="F")
        if slab.dtype.kind == "f" and not np.array_equal(values, slab):
            return None
        digest.update(values.T.data)
    return digest.hexdigest()


def _named(dtype: str, array: np.ndarray) -> Any:
    return hashlib.sha256(f"{dtype} {array.shape}".encode())


def _slabs(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array in parts of some planes."""
    d, h, w = array.shape
    planes = max(1, _SLAB // (d * h))
    for first in range(0, w, planes):
        yield array[:, :, first : first + planes]


def _add_what_float32_rounds(digest: Any, slab: np.ndarray, values: np.ndarray) -> None:
    """Tells whole numbers apart that float32 rounds to the same value."""
    if slab.max() <= _WHOLE and slab.min() >= -_WHOLE:
        return
    with np.errstate(invalid="ignore"):
        exact = values.astype(slab.dtype) == slab
    if not exact.all():
        digest.update(np.asarray(slab, f"<{slab.dtype.kind}8", order="F").T.data)


def _join(parts: Iterable[str]) -> str:
    """One digest of several texts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
