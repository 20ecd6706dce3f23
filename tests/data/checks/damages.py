"""Kinds of damage to the files of a case, each with what has to be said of it; and oddities."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (9, 8, 7)
AFFINE = np.diag([1.5, 1.0, 0.5, 1.0])
AFFINE[:3, 3] = (-7, 30, 11)


@dataclass
class Files:
    """The files of one case; a damage may put others in their place."""

    image: Path
    label: Path

    def save(self, name: str, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
        nib.Nifti1Image(array, affine).to_filename(getattr(self, name))

    def array(self, name: str) -> np.ndarray:
        return np.asarray(nib.Nifti1Image.from_filename(getattr(self, name)).dataobj)

    def edit(self, position: int, form: str, *values: float, name: str = "image") -> None:
        """Overwrites fields of the header."""
        path = getattr(self, name)
        content = bytearray(gzip.decompress(path.read_bytes()))
        struct.pack_into("<" + form, content, position, *values)
        path.write_bytes(gzip.compress(content))


Damage = Callable[[Files], object]
BAD: dict[str, tuple[str, str, Damage]] = {}
GOOD: dict[str, Damage] = {}


def bad(kind: str, text: str) -> Callable[[Damage], Damage]:
    """Registers a damage, the kind of fault that it is and what is said of it."""

    def register(damage: Damage) -> Damage:
        BAD[damage.__name__] = (kind, text, damage)
        return damage

    return register


def good(damage: Damage) -> Damage:
    GOOD[damage.__name__] = damage
    return damage


@bad("file", "no such file")
def image_missing(files: Files) -> None:
    files.image.unlink()


@bad("file", "no such file")
def label_missing(files: Files) -> None:
    files.label.unlink()


@bad("file", "truncated")
def gz_truncated(files: Files) -> None:
    content = files.image.read_bytes()
    files.image.write_bytes(content[: len(content) // 2])


@bad("file", "truncated")
def nii_truncated(files: Files) -> None:
    content = gzip.decompress(files.image.read_bytes())
    files.image = files.image.with_suffix("")
    files.image.write_bytes(content[: len(content) // 2])


@bad("file", "damaged, the gzip stream is corrupt")
def bit_flipped_in_gz(files: Files) -> None:
    # Stored, not compressed: the flipped voxel decodes well, and only the checksum can tell.
    content = bytearray(gzip.compress(gzip.decompress(files.image.read_bytes()), 0))
    content[1000] ^= 1
    files.image.write_bytes(content)


@bad("file", "damaged, the gzip stream is corrupt")
def bytes_overwritten_in_gz(files: Files) -> None:
    content = bytearray(gzip.compress(gzip.decompress(files.label.read_bytes()), 0))
    content[500:564] = bytes(64)
    files.label.write_bytes(content)


@bad("file", "claims a volume of (32767, 32767, 32767)")
def claims_more_than_any_machine_holds(files: Files) -> None:
    files.edit(40, "4h", 3, 32767, 32767, 32767)
    files.edit(70, "2h", 64, 64)


@bad("file", "claims a volume of (1200, 1200, 1200), 6,591.8 MiB")
def bomb(files: Files) -> None:
    files.edit(40, "4h", 3, 1200, 1200, 1200)


@bad("file", "cannot hold more than")
def bomb_below_the_limit(files: Files) -> None:
    files.edit(40, "4h", 3, 1000, 1000, 1000)


@bad("file", "not all positive")
def negative_dimension(files: Files) -> None:
    files.edit(40, "4h", 3, 9, -8, 7)


@bad("file", "not all positive")
def zero_dimension(files: Files) -> None:
    files.edit(40, "4h", 3, 9, 8, 0)


@bad("file", "1 voxels are NaN, infinite or beyond float32, the first at (1, 2, 3)")
def one_nan(files: Files) -> None:
    array = files.array("image").copy()
    array[1, 2, 3] = np.nan
    files.save("image", array)


@bad("file", "voxels are NaN, infinite or beyond float32")
def infinite_voxels(files: Files) -> None:
    files.save("image", np.where(files.array("label") == 1, -np.inf, 1).astype(np.float32))


@bad("file", "pixdim, the spacing, is not finite (1.5, nan, 0.5)")
def pixdim_nan(files: Files) -> None:
    files.edit(84, "f", np.nan)


@bad("file", "no usable affine")
def singular_sform(files: Files) -> None:
    files.edit(280, "4f", 0, 0, 0, 0)


@bad("label", "a label map has 3 axes; its shape is (9, 8, 7, 2)")
def label_of_two_volumes(files: Files) -> None:
    files.save("label", np.stack([files.array("label")] * 2, axis=-1))


@bad("grid", "holds 2 channels")
def image_of_two_channels(files: Files) -> None:
    files.save("image", np.stack([files.array("image")] * 2, axis=-1))


@bad("file", "the file is empty")
def empty_file(files: Files) -> None:
    files.image.write_bytes(b"")


@bad("file", "a git-lfs pointer, not an image; run `git lfs pull`")
def git_lfs_pointer(files: Files) -> None:
    files.label.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")


@bad("file", "not a NIfTI or Analyze image (magic")
def wrong_magic(files: Files) -> None:
    files.edit(344, "4s", b"ni1\0")  # pyright: ignore


@bad("grid", "shapes differ: (9, 8, 7)")
def axes_swapped_in_the_label(files: Files) -> None:
    files.save("label", files.array("label").transpose(2, 1, 0))


@bad("grid", "the affines put a corner")
def axes_swapped_in_the_affine_of_the_label(files: Files) -> None:
    files.save("label", files.array("label"), AFFINE[:, [1, 0, 2, 3]])


@bad("grid", "put a corner 0.2 mm apart, with voxels of")
def label_moved_by_a_fifth_of_a_millimetre(files: Files) -> None:
    moved = AFFINE.copy()
    moved[1, 3] += 0.2
    files.save("label", files.array("label"), moved)


@bad("empty-image", "all voxels are zero")
def image_of_zeros(files: Files) -> None:
    files.save("image", np.zeros(SHAPE, np.float32))


@bad("empty-label", "no voxel of a class besides the background")
def label_of_background(files: Files) -> None:
    files.save("label", np.zeros(SHAPE, np.uint8))


@bad("label", "holds 3, 4, where only 0, 1, 2 are expected")
def label_of_other_values(files: Files) -> None:
    array = files.array("label").copy()
    array[0, 0, :2] = 3, 4
    files.save("label", array)


@bad("label", "holds 0.5, not all whole numbers")
def label_that_was_interpolated(files: Files) -> None:
    array = files.array("label").astype(np.float32)
    array[0, 0, 0] = 0.5
    files.save("label", array)


@bad("file", "voxels are NaN")
def label_with_nan(files: Files) -> None:
    array = files.array("label").astype(np.float32)
    array[0, 0, 0] = np.nan
    files.save("label", array)


@good
def nothing_at_all(files: Files) -> None:
    pass


@good
def sheared_affine(files: Files) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.8
    for name in ("image", "label"):
        files.save(name, files.array(name), sheared)


@good
def label_of_one_volume_on_a_fourth_axis(files: Files) -> None:
    files.save("label", files.array("label")[..., None])


@good
def label_as_scaled_integers(files: Files) -> None:
    files.save("label", files.array("label") * 100)
    files.edit(112, "2f", 0.01, 0.0, name="label")


@good
def label_moved_by_less_than_the_tolerance(files: Files) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += 0.04  # of a voxel of 0.5 mm: less than a tenth
    files.save("label", files.array("label"), moved)
