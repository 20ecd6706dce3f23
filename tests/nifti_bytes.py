"""NIfTI files byte by byte, so that every field of a header can be what a test needs.

nibabel mends or refuses what it is given to write; here a header may lie.
"""

import gzip
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

CODES = {
    "uint8": 2,
    "int16": 4,
    "int32": 8,
    "float32": 16,
    "float64": 64,
    "int8": 256,
    "uint16": 512,
    "uint32": 768,
    "int64": 1024,
    "uint64": 1280,
}
METRE, MM, MICRON = 1, 2, 3  # of the field xyzt_units


def affine(
    spacing: Sequence[float] | np.ndarray = (1, 1, 1),
    origin: Sequence[float] | np.ndarray = (0, 0, 0),
    signs: Sequence[int] = (1, 1, 1),
) -> np.ndarray:
    """(4, 4): axes along those of the scanner, to the right, front and top where signs are 1."""
    matrix = np.diag([*(np.array(spacing, float) * signs), 1.0])
    matrix[:3, 3] = origin
    return matrix


def quaternion(rotation: np.ndarray) -> tuple[tuple[float, float, float], int]:
    """(b, c, d) and qfac of a matrix (3, 3) with orthonormal columns, by nibabel."""
    from nibabel.quaternions import mat2quat

    qfac = 1 if np.linalg.det(rotation) > 0 else -1
    _, b, c, d = mat2quat(np.asarray(rotation, float) @ np.diag([1, 1, qfac])).tolist()
    return (b, c, d), qfac


def header(
    shape: Sequence[int],
    dtype: np.dtype,
    matrix: np.ndarray,
    *,
    end: str = "<",
    sform: int = 1,
    qform: int = 0,
    quat: Sequence[float] = (0, 0, 0),
    qoff: Sequence[float] = (0, 0, 0),
    qfac: int = 1,
    pixdim: Sequence[float] | None = None,
    dim: Sequence[int] | None = None,
    vox_offset: float = 352,
    slope: float = 1.0,
    inter: float = 0.0,
    units: int = MM,
    magic: bytes = b"n+1\0",
    code: int | None = None,
    bitpix: int | None = None,
    intent: int = 0,
    descrip: bytes = b"",
) -> bytes:
    """The 348 bytes of a NIfTI-1 header; what is not given follows from the array."""
    spacing = np.linalg.norm(np.asarray(matrix, float)[:3, :3], axis=0)
    dim = [len(shape), *shape, *[1] * (7 - len(shape))] if dim is None else dim
    pixdim = [qfac, *spacing, 1, 1, 1, 1] if pixdim is None else pixdim
    code = CODES[dtype.name] if code is None else code
    bitpix = dtype.itemsize * 8 if bitpix is None else bitpix
    parts = (
        struct.pack(f"{end}i10s18sihcB", 348, b"", b"", 0, 0, b"r", 0),
        struct.pack(f"{end}8h3f4h", *dim, 0, 0, 0, intent, code, bitpix, 0),
        struct.pack(f"{end}8f3fhBB", *pixdim, vox_offset, slope, inter, 0, 0, units),
        struct.pack(f"{end}4f2i80s24s2h", 0, 0, 0, 0, 0, 0, descrip, b"", qform, sform),
        struct.pack(f"{end}6f", *quat, *qoff),
        struct.pack(f"{end}12f16s4s", *np.asarray(matrix, float)[:3].ravel(), b"", magic),
    )
    return b"".join(parts)


def nifti(data: np.ndarray, matrix: np.ndarray, *, end: str = "<", **fields: Any) -> bytes:
    """The bytes of a .nii file; `fields` as of `header`."""
    data = np.asarray(data)
    voxels = data.astype(data.dtype.newbyteorder(end)).tobytes("F")  # pyright: ignore
    return header(data.shape, data.dtype, matrix, end=end, **fields) + bytes(4) + voxels


def save(path: Path, content: bytes, level: int = 6) -> Path:
    """Writes a file, compressed where its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.lower().endswith(".gz"):
        content = gzip.compress(content, level, mtime=0)
    path.write_bytes(content)
    return path


def phantom(seed: int, shape: tuple[int, int, int] = (24, 28, 20)) -> tuple[np.ndarray, np.ndarray]:
    """A head of intensity 100 in air of 0; in it a bright organ (1, at 200) and a dark one (2, 40).

    The places of the organs differ from seed to seed, no two axes are alike, and each organ has a
    side: a label map that is shifted, mirrored or turned does not fit any more.
    """
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    centre = (np.array(shape) - 1) / 2
    head = (((grid - centre) / (np.array(shape) / 2 - 1)) ** 2).sum(axis=-1) < 1
    image = np.where(head, 100.0, 0.0) + head * rng.normal(0, 6, shape)
    label = np.zeros(shape, np.uint8)
    for value, side, intensity, radius in ((1, 0.2, 200, 4.2), (2, -0.2, 40, 3.4)):
        place = centre + [side * shape[0], rng.uniform(-4, 4), rng.uniform(-2.5, 2.5)]
        inside = ((grid - place) ** 2).sum(axis=-1) < radius**2
        image[inside] = intensity + rng.normal(0, 6, int(inside.sum()))
        label[inside] = value
    return np.rint(image).clip(0).astype(np.int16), label


Write = Callable[[int, np.ndarray], bytes]  # of the case's number and its array: a file's bytes


def write_cases(
    root: Path,
    count: int = 4,
    *,
    image: Write | None = None,
    label: Write | None = None,
    ending: str = ".nii.gz",
    **description: Any,
) -> Path:
    """Writes phantoms in the Decathlon's layout.

    Args:
        root: the data set's folder.
        count: of cases c0, c1, ...
        image: gives a file's bytes; by default sound ones, in mm.
        label: the same of the label maps.
        ending: of the files.
        **description: replaces entries of dataset.json.
    """
    sound = affine(origin=(-11, -13, -9))
    entries = []
    for number in range(count):
        for folder, array, write in zip(
            ("imagesTr", "labelsTr"), phantom(200 + number), (image, label), strict=True
        ):
            content = nifti(array, sound) if write is None else write(number, array)
            save(root / folder / f"c{number}{ending}", content)
        name = f"c{number}{ending}"
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    content = {
        "name": root.name,
        "modality": {"0": "MR"},
        "labels": {"0": "background", "1": "bright", "2": "dark"},
        "numTraining": count,
        "training": entries,
        "test": [],
    }
    (root / "dataset.json").write_text(json.dumps(content | description))
    return root
