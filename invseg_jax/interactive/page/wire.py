"""What travels between the page and the server: strict JSON one way, compact bytes the other.

Whatever comes from the page is checked here, before the session sees it.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import nibabel as nib
import numpy as np

from invseg_jax.errors import UserError
from invseg_jax.files.json_values import JsonObject
from invseg_jax.interactive.method import SliceVolume
from invseg_jax.interactive.prompts import Prompt, Scribble, from_json

MOST_POINTS = 10_000
LONGEST_NAME = 60
# Voxels of an int16 volume: from -32768 to 32767.
_LEVELS = 65535


def read_object(body: bytes) -> JsonObject:
    """An object of JSON; NaN, Infinity and keys that stand twice are refused.

    Raises:
        UserError: it is anything else.
    """
    try:
        value = json.loads(body, parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the request is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise UserError("the request must be an object of JSON")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands twice")
    return values


@dataclass(frozen=True)
class Fields:
    """The fields of a request, each read once, by its type.

    Attributes:
        values: as they came.
    """

    values: Mapping[str, object]

    def only(self, *names: str) -> None:
        """Refuses fields of other names.

        Raises:
            UserError: there is one.
        """
        if unknown := sorted(self.values.keys() - set(names)):
            raise UserError(f"the request has the unknown field {unknown[0]!r}")

    def number(self, name: str, below: int, *, lowest: int = 0) -> int:
        """A whole number from `lowest` to `below - 1`.

        Raises:
            UserError: it is missing or something else.
        """
        value = self.values.get(name)
        if type(value) is not int or not lowest <= value < below:
            raise UserError(f"{name} must be a whole number from {lowest} to {below - 1}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
            UserError: it is something else.
        """
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise UserError(f"{name} must be true or false")
        return value

    def text(self, name: str) -> str:
        """A short text that can be printed, without blanks at its ends.

        Raises:
            UserError: it is missing, empty, too long, or cannot be printed.
        """
        value = self.values.get(name)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{name} must be a text")
        value = value.strip()
        if len(value) > LONGEST_NAME or not value.isprintable():
            raise UserError(f"{name} must have at most {LONGEST_NAME} characters, all printable")
        return value

    def prompt(self, name: str, shape: tuple[int, int]) -> Prompt:
        """A prompt on a slice of the shape (rows, columns).

        Raises:
            UserError: it is no prompt, has too many points, or one far outside of the slice.
        """
        value = self.values.get(name)
        if not isinstance(value, dict):
            raise UserError(f"{name} must be an object of JSON")
        points = value.get("points")
        if not isinstance(points, list) or len(points) > MOST_POINTS:
            raise UserError(f"points must be a list of at most {MOST_POINTS}")
        for point in points:
            if not isinstance(point, list) or len(point) != 2:
                raise UserError("each point must be a pair [row, column]")
            for at, size in zip(point, shape, strict=True):
                if type(at) not in (int, float) or not -1 <= at <= size:
                    raise UserError(f"a point lies outside of the slice, or is no number: {at!r}")
        if type(value.get("radius", 1.0)) not in (int, float):
            raise UserError("radius must be a number")
        prompt = from_json(value)
        if isinstance(prompt, Scribble) and prompt.radius > max(shape):
            raise UserError(f"radius must be at most {max(shape)} voxels")
        return prompt


def volume_file(volume: SliceVolume, affine: np.ndarray) -> bytes:
    """The image as an uncompressed NIfTI file of int16, for the viewer.

    Whole numbers that fit are kept as they are. Others are rounded to 65,536 levels between the
    lowest and the highest; the header's slope and intercept give the intensities back.

    Args:
        volume: the image; all voxels are finite.
        affine: (4, 4), from (slice, row, column) to mm, RAS+.

    Returns:
        The header's 352 bytes, then the voxels; columns run fastest, then rows.
    """
    image = volume.image
    low, high = float(image.min()), float(image.max())
    whole = high - low <= _LEVELS and all((plane == np.rint(plane)).all() for plane in image)
    slope = 1.0 if whole else max((high - low) / _LEVELS, float(np.finfo(np.float32).tiny))
    stored = np.empty(image.shape, "<i2")
    for plane, levels in zip(image, stored, strict=True):
        # Differences of whole numbers are exact in float32.
        found = plane - np.float32(low) if whole else (plane.astype(np.float64) - low) / slope
        levels[...] = np.clip(np.rint(found) - 32768, -32768, 32767)
    header = nib.Nifti1Header(endianness="<")
    header.set_data_shape(image.shape[::-1])
    header.set_data_dtype(np.int16)
    moved = affine[:, [2, 1, 0, 3]]
    header.set_sform(moved, code=1)
    header["pixdim"][1:4] = np.linalg.norm(moved[:3, :3], axis=0)
    header.set_xyzt_units("mm")
    header.set_slope_inter(slope, low + 32768 * slope)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return header.binaryblock + b"\0" * 4 + stored.tobytes()


def axis_codes(affine: np.ndarray) -> list[str]:
    """Towards which side of the body slices, rows and columns run: of R L A P S I, one each."""
    return [str(code) for code in nib.aff2axcodes(affine)]


def usual_window(image: np.ndarray) -> list[float]:
    """The lowest and highest intensity that the page shows at first: robust, never equal.

    Args:
        image: (slices, rows, columns).
    """
    sample = image[:: max(len(image) // 16, 1), ::2, ::2]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return [0.0, 1.0]
    lowest = sample.min()
    body = sample[sample > lowest]  # the air around the body would take most of the levels
    body = body if body.size else sample
    low, high = (float(value) for value in np.percentile(body, (1, 99.5)))
    return [low, high] if high > low else [low, low + 1.0]


def pack_slices(header: Mapping[str, object], slices: Sequence[np.ndarray]) -> bytes:
    """Slices of the label map: gzip of a length (uint32), a header of JSON, and the voxels.

    Args:
        header: says which slices they are.
        slices: (rows, columns) uint8 each.
    """
    text = json.dumps(header).encode()
    parts = [len(text).to_bytes(4, "little"), text, *(part.tobytes() for part in slices)]
    return gzip.compress(b"".join(parts), compresslevel=1, mtime=0)


def unpack_mask(body: bytes, shape: tuple[int, int]) -> np.ndarray:
    """A mask from the page: one bit for each voxel, row by row, the highest bit first.

    Returns:
        (rows, columns) bool.

    Raises:
        UserError: it has another length.
    """
    count = math.prod(shape)
    if len(body) != (count + 7) // 8:
        raise UserError(f"a mask of {shape[0]} x {shape[1]} voxels has {(count + 7) // 8} bytes")
    bits = np.unpackbits(np.frombuffer(body, np.uint8), count=count)
    return bits.astype(bool).reshape(shape)
