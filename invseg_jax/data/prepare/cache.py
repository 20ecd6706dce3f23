"""Prepared cases and their measurements on disk.

An entry is named by the SHA-256 of everything it depends on: the voxels and the geometry of the
source files, the settings and this format's version. A changed file or setting is therefore another
entry, and a stale one is never found; what does not depend on it stays. An entry that the disk has
damaged is made anew, at the start or in the middle of a training: it is the same to the bit.

    cases/KEY/image.npy             (D, H, W, C) float32, prepared
    cases/KEY/label.npy             (D, H, W) uint8, absent for a case without a label map
    cases/KEY/foreground-K.npy      (m, 3) int32, voxels of class K, absent where there are none
    measurements/KEY/sample.npy     (m, C) float32, see `fingerprint.Measurement`
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from invseg_jax.data.batches.sparse_annotation import keep_slices
from invseg_jax.data.layouts.case import IGNORED, Case, Dataset
from invseg_jax.data.prepare.cache_entry import (
    describe,
    entry_fault,
    is_sound,
    map_array,
    read_entry,
    remove_entry,
    sweep,
    write_entry,
)
from invseg_jax.data.prepare.cached_case import CachedCase
from invseg_jax.data.prepare.content import case_digest
from invseg_jax.data.prepare.entry_manifest import DamagedEntry
from invseg_jax.data.prepare.fingerprint import (
    SAMPLED_VOXELS,
    WHOLE_VOXELS,
    Fingerprint,
    Measurement,
    measure,
)
from invseg_jax.data.prepare.geometry import Geometry
from invseg_jax.data.prepare.loaded_case import LoadedCase, load_case
from invseg_jax.data.prepare.preprocess import prepare
from invseg_jax.data.prepare.shortage import one_line_for_memory, refuse_shortage
from invseg_jax.data.prepare.vanished_classes import vanished_classes
from invseg_jax.errors import UserError
from invseg_jax.experiment import Preprocessing
from invseg_jax.files.cache_folder import cache_root
from invseg_jax.files.json_values import JsonObject

FORMAT = 5  # 5: checksums
# Enough places to centre patches on, and the same few hundred kB whatever the size of the organ.
FOREGROUND_VOXELS = 10_000
# Several threads that read ahead may find the same damage at once: one of them mends it.
_MENDING = threading.Lock()


class CaseCache:
    """The cases of one data set, prepared and measured once.

    Args:
        dataset: what the cases belong to.
        settings: how they are prepared.
        folder: where the entries are kept; `cache_root()` if None.
        progress: told one line for each case that has to be read.
        warn: told one line for each damaged entry, also by the threads that read ahead. If None,
            `progress` is told the entries that are found damaged in the course of a training.
        slices: how many slices of each label map count across each axis, see `sparse_annotation`;
            empty: the whole map.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: Preprocessing | None = None,
        folder: Path | None = None,
        progress: Callable[[str], None] | None = None,
        *,
        slices: Sequence[int] = (),
        warn: Callable[[str], None] | None = None,
    ):
        """See the class."""
        self._slices = tuple(slices)
        self._dataset = dataset
        self._settings = Preprocessing() if settings is None else settings
        self._folder = cache_root() if folder is None else Path(folder)
        self._progress = progress
        self._warn = warn
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
                self._report_damage(path, case)
                self._say(f"preparing case {case.id} ({number} of {len(cases)})")
                with one_line_for_memory(case.id):
                    loaded = self._load(case)
                    description = self._write_case(path, case, loaded, fingerprint)
                # The file has been read: a fingerprint is to find it measured.
                if loaded.label is not None and read_entry(self._measurement_path(case)) is None:
                    self._write_measurement(case, loaded)
                del loaded  # or it would stay while the next case is read
            size = Geometry.from_json(description["geometry"]).size
            remake = partial(self._remake, path, case, fingerprint)
            result.append(CachedCase(case.id, path, size, len(self._dataset.classes), remake))
        return result

    def fingerprint(self, cases: Sequence[Case]) -> Fingerprint:
        """The fingerprint of cases with label maps, which should be the training cases.

        Raises:
            UserError: as `prepared`.
        """
        measured = {}
        for number, case in enumerate(cases, 1):
            path = self._measurement_path(case)
            if read_entry(path) is None:
                self._report_damage(path, case)
                self._say(f"measuring case {case.id} ({number} of {len(cases)})")
                with one_line_for_memory(case.id):
                    self._write_measurement(case, self._load(case))
            try:
                measured[case.id] = self._read_measurement(path)
            except DamagedEntry as fault:
                self._report(case, str(fault))
                with one_line_for_memory(case.id):
                    loaded = self._load(case)
                    remove_entry(path)
                    self._write_measurement(case, loaded)
                measured[case.id] = self._read_measurement(path)
        data = self._dataset
        return Fingerprint.of(measured, data.modalities, data.classes, self._settings)

    def _digest(self, case: Case) -> str:
        """`case_digest` of a case, taken once."""
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

    def _report_damage(self, path: Path, case: Case) -> None:
        """Says why an entry is not used although it is there."""
        if self._warn is not None and path.exists() and (fault := entry_fault(path)):
            self._report(case, fault)

    def _report(self, case: Case, fault: str) -> None:
        if say := self._warn or self._progress:
            say(f"cache entry of case {case.id}: {fault}; it is made anew")

    def _remake(
        self, path: Path, case: Case, fingerprint: Fingerprint | None, fault: DamagedEntry
    ) -> None:
        """Makes a damaged entry anew, the same to the bit.

        Raises:
            UserError: the source is gone or is not the same any more, or the cache cannot be
                written.
        """
        with _MENDING:
            if is_sound(path):
                return  # another thread or process has mended it
            try:
                # Not `_digest`: the files may have been changed since this process began.
                if case_digest(case) != self._digest(case):
                    raise UserError(
                        f"case {case.id}: its files were changed since this training began; start "
                        "it again"
                    )
                loaded = self._load(case)
            except UserError as error:
                raise UserError(f"{fault}, and it cannot be made anew: {error}") from error
            self._report(case, str(fault))
            remove_entry(path)
            self._write_case(path, case, loaded, fingerprint)

    def _reading(self) -> JsonObject:
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
            reading["outside"] = "air"  # of a volume that is resampled onto a larger grid
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
        settings = self._reading() | {"sampled": SAMPLED_VOXELS, "whole": WHOLE_VOXELS}
        return self._folder / "measurements" / _key(self._digest(case), settings)

    def _write_case(
        self, path: Path, case: Case, loaded: LoadedCase, fingerprint: Fingerprint | None
    ) -> JsonObject:
        try:
            intensities = () if fingerprint is None else fingerprint.intensities
            prepared = prepare(loaded, self._settings, intensities)
        except UserError as error:
            raise UserError(f"case {case.id}: {error}") from error
        arrays = {"image": prepared.image}
        description = {"geometry": asdict(prepared.geometry), "content": self._digest(case)}
        if prepared.label is not None and loaded.label is not None:
            classes = len(self._dataset.classes)
            description["vanished"] = vanished_classes(loaded.label, prepared.label, classes)
            lost = (prepared.label == IGNORED).all()
            if lost and (loaded.label != IGNORED).any():
                raise UserError(
                    f"case {case.id}: no voxel of its label map is annotated on the network's "
                    "grid; annotate more slices, leave the case out, or take a finer "
                    "config.data.preprocess.spacing"
                )
            arrays["label"] = prepared.label
            rng = _rng(path)
            for index in range(1, classes):
                voxels = _foreground(prepared.label, index, rng)
                if len(voxels):  # an empty array cannot be mapped
                    arrays[f"foreground-{index}"] = voxels
        write_entry(path, description, arrays, f"preparing case {case.id}", self._folder)
        return description

    def _write_measurement(self, case: Case, loaded: LoadedCase) -> None:
        path = self._measurement_path(case)
        measured = measure(loaded, len(self._dataset.classes), _rng(path))
        arrays = {"sample": measured.sample} if len(measured.sample) else {}
        write_entry(path, measured.described(), arrays, f"measuring case {case.id}", self._folder)

    def _read_measurement(self, path: Path) -> Measurement:
        sample = map_array(path, "sample")
        if sample is None:
            sample = np.empty((0, len(self._dataset.modalities)), np.float32)
        return Measurement.of(describe(path), sample)


def _rng(path: Path) -> np.random.Generator:
    """Seeded by the key, so that a cache made again is the same to the bit."""
    return np.random.default_rng(int(path.name, 16))


def _foreground(label: np.ndarray, index: int, rng: np.random.Generator) -> np.ndarray:
    flat = np.flatnonzero(label == index)
    if flat.size > FOREGROUND_VOXELS:
        flat = np.sort(rng.choice(flat, FOREGROUND_VOXELS, replace=False))
    return np.stack(np.unravel_index(flat, label.shape), axis=-1).astype(np.int32)


def _key(content: str, settings: JsonObject) -> str:
    text = json.dumps({"content": content, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
