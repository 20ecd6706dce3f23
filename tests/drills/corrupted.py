"""A thousand files, most of them damaged, through `predict` in one process.

    python -m tests.drills.corrupted
    python -m tests.drills.corrupted --files 200 --folder /tmp/drill

From the root of the checkout. Trains a tiny network on balls, writes the files, of which every
fifth is sound, and segments them all by one call of `predict`. Of every sound file the label map
must be, byte for byte, the one that the file gives alone; every damaged one must be one line, and
nothing may stop the rest. Resident memory and open files are printed every hundred files, and must
not grow.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np

from invseg_jax import command
from invseg_jax.devices.main_memory import give_back
from invseg_jax.errors import UserError
from tests.nifti_bytes import affine, header, nifti
from tests.tiny_run import ball, tiny_config, write_balls

SPACING = (1.5, 1.0, 2.0)  # of the balls and of the network's grid
PLACE = affine(SPACING, (-7, 3, 11))
SOUND = 4  # different images
# What memory may grow by after the first hundred files: the allocator's own.
MAX_GROWTH = 8 << 20

Damage = Callable[[np.ndarray], bytes]
DAMAGES: dict[str, tuple[str, Damage]] = {}


def damage(ending: str = ".nii.gz") -> Callable[[Damage], Damage]:
    """Registers a kind of damage: from an image to the bytes of a file of this ending."""

    def register(make: Damage) -> Damage:
        DAMAGES[make.__name__] = ending, make
        return make

    return register


def packed(content: bytes, level: int = 6) -> bytes:
    return gzip.compress(content, level, mtime=0)


def changed(image: np.ndarray, **fields) -> bytes:
    """A whole file whose header has other fields."""
    matrix = fields.pop("matrix", PLACE)
    return packed(nifti(image, matrix, **fields))


@damage(".nii")
def truncated(image: np.ndarray) -> bytes:
    return nifti(image, PLACE)[:2000]


@damage()
def truncated_gzip(image: np.ndarray) -> bytes:
    content = packed(nifti(image, PLACE))
    return content[: len(content) // 2]


@damage()
def empty(image: np.ndarray) -> bytes:
    return b""


@damage()
def nothing_in_the_gzip(image: np.ndarray) -> bytes:
    return packed(b"")


@damage(".nii")
def text(image: np.ndarray) -> bytes:
    return b"This scan was moved to another server.\n" * 20


@damage()
def git_lfs_pointer(image: np.ndarray) -> bytes:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"


@damage()
def git_annex_pointer(image: np.ndarray) -> bytes:
    return b"/annex/objects/SHA256E-s9--1.nii.gz\n"


@damage()
def bit_flipped_in_gzip(image: np.ndarray) -> bytes:
    # Stored, not compressed: the voxel decodes well, and only the checksum can tell.
    content = bytearray(packed(nifti(image, PLACE), 0))
    content[1500] ^= 4
    return bytes(content)


@damage()
def bytes_overwritten_in_gzip(image: np.ndarray) -> bytes:
    content = bytearray(packed(nifti(image, PLACE)))
    content[400:464] = bytes(64)
    return bytes(content)


@damage()
def bomb(image: np.ndarray) -> bytes:
    # Keeps what it promises: 3.8 GiB of zeros in 4 MB, and terabytes on the network's grid.
    shape = (1600, 1600, 1600)
    first = packed(header(shape, np.dtype(np.uint8), affine((30, 20, 40))) + bytes(4))
    return first + packed(bytes(1 << 20), 9) * (1600**3 >> 20)


@damage()
def more_than_it_claims(image: np.ndarray) -> bytes:
    return packed(nifti(image, PLACE)) + packed(bytes(1 << 20), 9) * 100


@damage()
def claims_more_than_any_machine_holds(image: np.ndarray) -> bytes:
    return changed(image, dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])


@damage()
def claims_more_than_the_file_can_hold(image: np.ndarray) -> bytes:
    return changed(image, dim=[3, 900, 900, 900, 1, 1, 1, 1])


@damage()
def negative_dimension(image: np.ndarray) -> bytes:
    return changed(image, dim=[3, 22, -26, 18, 1, 1, 1, 1])


@damage()
def dimension_of_zero(image: np.ndarray) -> bytes:
    return changed(image, dim=[3, 22, 26, 0, 1, 1, 1, 1])


@damage()
def five_dimensions(image: np.ndarray) -> bytes:
    return changed(image, dim=[5, 22, 26, 6, 1, 3, 1, 1])


@damage()
def two_channels(image: np.ndarray) -> bytes:
    return changed(np.stack([image, image], axis=-1))


@damage()
def voxels_of_nan(image: np.ndarray) -> bytes:
    image = image.copy()
    image[1, 2, 3] = np.nan
    return changed(image)


@damage()
def voxels_beyond_float32(image: np.ndarray) -> bytes:
    return changed(image.astype(np.float64) * 1e300)


@damage()
def affine_of_nan(image: np.ndarray) -> bytes:
    matrix = PLACE.copy()
    matrix[0, 0] = np.nan
    return changed(image, matrix=matrix, pixdim=[1, *SPACING, 1, 1, 1, 1])


@damage()
def singular_affine(image: np.ndarray) -> bytes:
    matrix = PLACE.copy()
    matrix[:, 1] = matrix[:, 0]
    return changed(image, matrix=matrix)


@damage()
def spacing_of_nan(image: np.ndarray) -> bytes:
    return changed(image, pixdim=[1, 1.5, np.nan, 2, 1, 1, 1, 1])


@damage()
def complex_voxels(image: np.ndarray) -> bytes:
    return changed(image, code=32, bitpix=64)


@damage()
def colours(image: np.ndarray) -> bytes:
    return changed(image, code=128, bitpix=24)


@damage()
def bits(image: np.ndarray) -> bytes:
    return changed(image, code=1, bitpix=1)


@damage()
def no_such_type(image: np.ndarray) -> bytes:
    return changed(image, code=999)


@damage()
def magic_of_a_pair(image: np.ndarray) -> bytes:
    return changed(image, magic=b"ni1\0")


@damage()
def wrong_ending(image: np.ndarray) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(5000)


@damage()
def long_quaternion(image: np.ndarray) -> bytes:
    return changed(image, sform=0, qform=1, quat=(0.9, 0.9, 0.9))


@damage()
def huge_voxels(image: np.ndarray) -> bytes:
    return changed(image, matrix=affine((5000, 5000, 5000)))


@damage()
def scaled_by_infinity(image: np.ndarray) -> bytes:
    return changed(image, slope=np.inf)


@damage()
def scaled_beyond_float32(image: np.ndarray) -> bytes:
    return changed(image.astype(np.int16), slope=3e38)


@damage()
def offset_of_nan(image: np.ndarray) -> bytes:
    return changed(image, vox_offset=np.nan)


# What goes round the names of every fourth file.
ODD = ("", " \x1b[31m", "\u202e\r", "\n[b]")


def write_run(folder: Path) -> Path:
    """Trains a tiny network on balls, on a grid of a fixed spacing."""
    from tests.trained import train

    write_balls(folder / "balls")
    changes = {"steps": 100, "save_every": 100, "eval_every": 100}
    experiment = tiny_config().changed(changes | {"data.preprocess.spacing": SPACING})
    train(experiment, folder / "run", str(folder / "balls"))
    return folder / "run"


def write_files(folder: Path, count: int) -> dict[str, int | None]:
    """Writes the files; of each case's name the number of its sound image, or None."""
    folder.mkdir(parents=True)
    images = [ball(number)[0] for number in range(SOUND)]
    large = ball(SOUND, (22, 26, 18))[0]  # so that an array that is kept is seen
    kinds = list(DAMAGES.items())
    bomb = None
    found: dict[str, int | None] = {}
    for number in range(count):
        odd = ODD[number % len(ODD)] if number % 4 == 0 else ""
        image = images[number // 5 % SOUND]
        if number % 5 == 0:
            name = f"{number:04}{odd} sound"
            (folder / f"{name}.nii.gz").write_bytes(packed(nifti(image, PLACE)))
            found[name] = number // 5 % SOUND
            continue
        kind, (ending, make) = kinds[number % len(kinds)]
        name = f"{number:04}{odd} {kind}"
        if kind == "bomb" and bomb is not None:
            (folder / f"{name}{ending}").hardlink_to(bomb)
        else:
            (folder / f"{name}{ending}").write_bytes(make(large))
        if kind == "bomb":
            bomb = folder / f"{name}{ending}"
        found[name] = None
    return found


class Watch:
    """Keeps what predict says, and the process's memory and open files every so many cases."""

    def __init__(self, every: int):
        self.lines: list[str] = []
        self.curve: list[tuple[int, int, int]] = []
        self._every, self._say = every, command.say

    def __enter__(self) -> Watch:
        command.say = self.say
        return self

    def __exit__(self, *exception) -> None:
        command.say = self._say

    def say(self, text: str) -> None:
        self.lines.append(text)
        if len(self.lines) % self._every == 0:
            give_back()
            status = Path("/proc/self/status").read_text()
            resident = 1024 * int(re.findall(r"VmRSS:\s*(\d+) kB", status)[0])
            self.curve.append((len(self.lines), resident, len(os.listdir("/proc/self/fd"))))


def drill(folder: Path, count: int, every: int = 100) -> tuple[list[str], Watch, dict]:
    """Runs it all.

    Args:
        folder: for everything that is written; new.
        count: of files.
        every: of how many files memory is measured.

    Returns:
        What went wrong, none where all is well; the watch; and the cases, see `write_files`.
    """
    from invseg_jax.evaluation.prediction import predict

    run = write_run(folder)
    cases = write_files(folder / "files", count)
    alone = folder / "alone"
    alone.mkdir()
    for number in range(SOUND):
        (alone / f"{number}.nii.gz").write_bytes(packed(nifti(ball(number)[0], PLACE)))
    predict([run], alone, folder / "expected")
    expected = [(folder / "expected" / f"{n}.nii.gz").read_bytes() for n in range(SOUND)]
    wrong = []
    if len(set(expected)) < SOUND:
        wrong.append("the network says the same of all images: nothing can be told apart")

    maps, said = folder / "maps", ""
    with Watch(every) as watch:
        try:
            predict([run], folder / "files", maps)
        except UserError as error:
            said = str(error)
    damaged = [name for name, sound in cases.items() if sound is None]
    if not said.startswith(f"{len(damaged)} of {count} cases could not be segmented"):
        wrong.append(f"the last line is {said!r}")
    if len(watch.lines) != count:
        wrong.append(f"{len(watch.lines)} lines for {count} files")
    lines = {line.split("  ", 1)[1]: line for line in watch.lines}
    for name, sound in cases.items():
        own = [text for text in lines if text.startswith(f"{name}  ")]
        file = maps / f"{name}.nii.gz"
        if len(own) != 1:
            wrong.append(f"{name!r}: {len(own)} lines")
        elif sound is None and (file.exists() or "left out: " not in own[0]):
            wrong.append(f"{name!r}: was segmented")
        elif sound is not None and (not file.exists() or file.read_bytes() != expected[sound]):
            wrong.append(f"{name!r}: no label map, or not the one that the file gives alone")
    for number, content in enumerate(expected):
        result = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
        there = np.asarray(result.header.get_best_affine())
        if result.shape != ball(number)[0].shape or not np.array_equal(there, PLACE):
            wrong.append(f"image {number}: its label map lies elsewhere")
    if len(watch.curve) > 1:
        (_, first, opened), *_, (_, last, still) = watch.curve
        if last - first > MAX_GROWTH:
            wrong.append(f"resident memory grew by {(last - first) / 2**20:.1f} MiB")
        if still > opened:
            wrong.append(f"{still - opened} more files are open")
    return wrong, watch, cases


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=1000, help="how many [1000]")
    parser.add_argument("--folder", type=Path, help="a new folder that stays; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "drill" if options.folder is None else options.folder
        folder.mkdir(parents=True)
        os.environ.setdefault("INVSEG_CACHE", str(folder / "cache"))
        wrong, watch, cases = drill(folder, options.files, max(options.files // 10, 1))
        kinds = {re.split(" ", name)[-1] for name, sound in cases.items() if sound is None}
        sound = sum(sound is not None for sound in cases.values())
        print(f"\n{len(cases)} files: {sound} sound, the others of {len(kinds)} kinds of damage")
        print("files  resident MiB  open files")
        for number, resident, opened in watch.curve:
            print(f"{number:5}  {resident / 2**20:12.1f}  {opened:10}")
        print("what is said of each kind:")
        for kind in sorted(kinds):
            line = next(line for line in watch.lines if f" {kind}  left out" in line)
            command.say(f"  {kind}: {line.partition('left out: ')[2].partition(': ')[2]}")
        for text in wrong:
            command.say(f"WRONG  {text}")
        print("all as it should be" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
