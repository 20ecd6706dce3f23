"""Prepared cases and their measurements on disk.

An entry is named by the SHA-256 of everything it depends on: the bytes of the source files, the
settings and this format's version. A changed file or setting is therefore another entry, and a
stale one is never found; what does not depend on it stays.

    cases/KEY/image.npy             (D, H, W, C) float32, prepared
    cases/KEY/label.npy             (D, H, W) uint8, absent for a case without a label map
    cases/KEY/foreground-K.npy      (m, 3) int32, voxels of class K, absent where there are none
    measurements/KEY/sample.npy     (m, C) float32, see `fingerprint.Measurement`
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from invseg_jax.data.cache_entry import describe, map_array, read_entry, sweep, write_entry
from invseg_jax.data.content import case_digest
from invseg_jax.data.fingerprint import SAMPLED_VOXELS, Fingerprint, Measurement, measure
from invseg_jax.data.geometry import Geometry
from invseg_jax.data.layouts.case import IGNORED, Case, Dataset
from invseg_jax.data.loaded_case import LoadedCase, load_case
from invseg_jax.data.preprocess import Preprocessing, prepare
from invseg_jax.data.shortage import one_line_for_memory, refuse_shortage
from invseg_jax.data.sparse_annotation import check_slices, keep_slices
from invseg_jax.errors import UserError

FORMAT = 4
# Enough places to centre patches on, and the same few hundred kB whatever the size of the organ.
FOREGROUND_VOXELS = 10_000


def cache_root() -> Path:
    """The folder for what can be made again: $INVSEG_CACHE, else the user's cache folder."""
    if root := os.environ.get("INVSEG_CACHE"):
        return Path(root)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "invseg_jax"


@dataclass(frozen=True)
class CachedCase:
    """A prepared case on disk.

    Arrays are mapped anew at each access, read-only: a case holds no open file and travels cheaply
    to another process.

    Attributes:
        id: the case's name.
        folder: its entry in the cache.
        shape: (D, H, W) in voxels, of the network's grid.
        classes: number of classes, the background among them.
    """

    id: str
    folder: Path
    shape: tuple[int, int, int]
    classes: int

    @property
    def image(self) -> np.ndarray:
        """(D, H, W, C) float32, normalised."""
        return map_array(self.folder / "image.npy")

    @property
    def label(self) -> np.ndarray | None:
        """(D, H, W) uint8 class indices, `IGNORED` where nobody labelled; None without a label."""
        path = self.folder / "label.npy"
        return map_array(path) if path.exists() else None

    @property
    def geometry(self) -> Geometry:
        """Where its voxels lie in those of the file."""
        return Geometry.from_json(describe(self.folder)["geometry"])

    @property
    def content(self) -> str:
        """The digest of its source files, see `case_digest`."""
        return describe(self.folder)["content"]

    def foreground(self, index: int) -> np.ndarray:
        """Voxels of class `index`: (m, 3) int32 along D, H, W; m is 0 where there are none.

        Up to `FOREGROUND_VOXELS` of them, drawn at random without replacement, in rising order.

        Raises:
            IndexError: `index` is not from 1 to classes - 1.
        """
        if not 1 <= index < self.classes:
            raise IndexError(f"foreground classes are 1 to {self.classes - 1}, not {index}")
        path = self.folder / f"foreground-{index}.npy"
        return map_array(path) if path.exists() else np.empty((0, 3), np.int32)


class CaseCache:
    """The cases of one data set, prepared and measured once.

    Args:
        dataset: what the cases belong to.
        settings: how they are prepared.
        folder: where the entries are kept; `cache_root()` if None.
        progress: is told in one line of each case that has to be read.
        slices: of each label map only so many slices across each axis count, see
            `sparse_annotation`; none: the whole map.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: Preprocessing | None = None,
        folder: Path | None = None,
        progress: Callable[[str], None] | None = None,
        *,
        slices: Sequence[int] = (),
    ):
        """See the class."""
        self._slices = check_slices(slices)
        self._dataset = dataset
        self._settings = Preprocessing() if settings is None else settings
        self._folder = cache_root() if folder is None else Path(folder)
        self._progress = progress
        self._digests: dict[Case, str] = {}
        for kind in ("cases", "measurements"):
            sweep(self._folder / kind)

    def prepared(
        self, cases: Sequence[Case], fingerprint: Fingerprint | None = None
    ) -> list[CachedCase]:
        """Prepares the cases that are not in the cache yet.

        Args:
            cases: some or all of the data set's.
            fingerprint: of the training cases, where the settings' `measures` asks for it.

        Returns:
            The cases in the order given.

        Raises:
            UserError: a case is faulty (see `load_case`, `prepare`), or the cache cannot be
                written, as when the disk is full.
        """
        result = []
        for number, case in enumerate(cases, 1):
            path = self._folder / "cases" / self._case_key(case, fingerprint)
            description = read_entry(path)
            if description is None:
                self._say(f"preparing case {case.id} ({number} of {len(cases)})")
                with one_line_for_memory(case.id):
                    loaded = self._load(case)
                    description = self._write_case(path, case, loaded, fingerprint)
                # The file has been read: a fingerprint is to find it measured.
                if loaded.label is not None and read_entry(self._measurement_path(case)) is None:
                    self._write_measurement(case, loaded)
                del loaded  # or it would stay while the next case is read
            size = Geometry.from_json(description["geometry"]).size
            result.append(CachedCase(case.id, path, size, len(self._dataset.classes)))
        return result

    def fingerprint(self, cases: Sequence[Case]) -> Fingerprint:
        """The fingerprint of cases with label maps: those of the training, and no other.

        Raises:
            UserError: as `prepared`.
        """
        measured = {}
        for number, case in enumerate(cases, 1):
            path = self._measurement_path(case)
            if read_entry(path) is None:
                self._say(f"measuring case {case.id} ({number} of {len(cases)})")
                with one_line_for_memory(case.id):
                    self._write_measurement(case, self._load(case))
            measured[case.id] = self._read_measurement(path)
        data = self._dataset
        return Fingerprint.of(measured, data.modalities, data.classes, self._settings)

    def _digest(self, case: Case) -> str:
        """`case_digest`, of which each case's is taken once."""
        if case not in self._digests:
            self._digests[case] = case_digest(case)
        return self._digests[case]

    def _load(self, case: Case) -> LoadedCase:
        refuse_shortage(self._dataset, case, [self._settings])
        loaded = load_case(self._dataset, case, self._settings.interpolation)
        if self._slices and loaded.label is not None:
            loaded.label = keep_slices(loaded.label, self._slices)
        return loaded

    def _say(self, text: str) -> None:
        if self._progress is not None:
            self._progress(text)

    def _reading(self) -> dict[str, Any]:
        """What the arrays of a case as it was read depend on, besides its files."""
        data = self._dataset
        reading = {
            "format": FORMAT,
            "modalities": len(data.modalities),
            "values": data.values,
            "ignore": data.ignore,
            "reference": data.reference,
        }
        if data.reference is not None:
            reading["interpolation"] = self._settings.interpolation
        if self._slices:
            reading["slices"] = self._slices
        return reading

    def _case_key(self, case: Case, fingerprint: Fingerprint | None) -> str:
        preprocessing = self._settings.used(len(self._dataset.modalities))
        settings = {"preprocessing": preprocessing, "foreground": FOREGROUND_VOXELS}
        if self._settings.spacing is not None and (
            self._slices or self._dataset.ignore is not None
        ):
            settings["ignored"] = 2  # raised where such maps are resampled another way; others stay
        if self._settings.measures and fingerprint is not None:
            settings["intensities"] = [asdict(entry) for entry in fingerprint.intensities]
        return _key(self._digest(case), self._reading() | settings)

    def _measurement_path(self, case: Case) -> Path:
        settings = self._reading() | {"sampled": SAMPLED_VOXELS}
        return self._folder / "measurements" / _key(self._digest(case), settings)

    def _write_case(
        self, path: Path, case: Case, loaded: LoadedCase, fingerprint: Fingerprint | None
    ) -> dict[str, Any]:
        try:
            intensities = () if fingerprint is None else fingerprint.intensities
            prepared = prepare(loaded, self._settings, intensities)
        except UserError as error:
            raise UserError(f"case {case.id}: {error}") from error
        arrays = {"image": prepared.image}
        if prepared.label is not None:
            lost = (prepared.label == IGNORED).all()
            if lost and loaded.label is not None and (loaded.label != IGNORED).any():
                raise UserError(
                    f"case {case.id}: no voxel of its label map is annotated on the network's "
                    "grid; annotate more slices, leave the case out, or take a finer "
                    "config.data.preprocess.spacing"
                )
            arrays["label"] = prepared.label
            rng = _rng(path)
            for index in range(1, len(self._dataset.classes)):
                voxels = _foreground(prepared.label, index, rng)
                if len(voxels):  # an empty array cannot be mapped
                    arrays[f"foreground-{index}"] = voxels
        description = {"geometry": asdict(prepared.geometry), "content": self._digest(case)}
        write_entry(path, description, arrays, f"preparing case {case.id}")
        return description

    def _write_measurement(self, case: Case, loaded: LoadedCase) -> None:
        path = self._measurement_path(case)
        measured = measure(loaded, len(self._dataset.classes), _rng(path))
        arrays = {"sample": measured.sample} if len(measured.sample) else {}
        write_entry(path, measured.described(), arrays, f"measuring case {case.id}")

    def _read_measurement(self, path: Path) -> Measurement:
        file = path / "sample.npy"
        empty = np.empty((0, len(self._dataset.modalities)), np.float32)
        return Measurement.of(describe(path), map_array(file) if file.exists() else empty)


def _rng(path: Path) -> np.random.Generator:
    """Seeded by the key, so that a cache made again is the same to the bit."""
    return np.random.default_rng(int(path.name, 16))


def _foreground(label: np.ndarray, index: int, rng: np.random.Generator) -> np.ndarray:
    flat = np.flatnonzero(label == index)
    if flat.size > FOREGROUND_VOXELS:
        flat = np.sort(rng.choice(flat, FOREGROUND_VOXELS, replace=False))
    return np.stack(np.unravel_index(flat, label.shape), axis=-1).astype(np.int32)


def _key(content: str, settings: dict[str, Any]) -> str:
    text = json.dumps({"content": content, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
