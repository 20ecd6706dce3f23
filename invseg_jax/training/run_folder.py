"""The folder of a run: what was asked for, on which data, and what came of it.

Its files:

    RUN/config.json         the configuration, every value
    RUN/data.json           classes, label values and modalities; the cases trained on and held out
    RUN/fingerprint.json    sizes, spacings, intensities and classes of the cases trained on
    RUN/history.jsonl       one line of scalars a log step
    RUN/checkpoints/        one folder a step

The first three have a format number and a digest, see `signed_json`.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from invseg_jax.atomic_file import write_atomically
from invseg_jax.configuration import Config
from invseg_jax.data.cached_case import CachedCase
from invseg_jax.data.content import FILES, VOXELS, case_digest, images_digest
from invseg_jax.data.fingerprint import Fingerprint
from invseg_jax.data.layouts.case import Dataset, Region
from invseg_jax.errors import UserError
from invseg_jax.folder_lock import folder_lock
from invseg_jax.json_values import plain, tuples
from invseg_jax.training import signed_json
from invseg_jax.training.history import read_rows
from invseg_jax.training.json_types import config_fault
from invseg_jax.training.resuming import data_fault, settings_fault
from invseg_jax.training.run_files import config_values, field_values
from invseg_jax.training.saved_steps import saved_steps


@dataclass(frozen=True)
class DataDescription:
    """What a network was trained to see and to say.

    Attributes:
        layout: the layout of the data it was trained on.
        root: where they were, or None for the embedded cohort.
        modalities: names, in the order of the channels.
        classes: names, the background first.
        values: label values on disk, one a class.
        training: identifier and digest of the content of each case that it was trained on.
        held_out: identifier and digest of each labelled case that it was not trained on.
        reference: number of the modality onto whose grid the others are resampled, or None.
        ignore: label value on disk of voxels that nobody labelled, or None.
        regions: what it segments instead of the classes; empty where it segments the classes.
        images: digest of the images of each case that it was trained on, without label map; empty
            in runs of earlier versions.
        known_by: what the digests are taken of, "voxels" or "files" (see `content`); in runs of
            earlier versions of files.
    """

    layout: str
    root: str | None
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    values: tuple[int, ...]
    training: tuple[tuple[str, str], ...]
    held_out: tuple[tuple[str, str], ...]
    reference: int | None = None
    ignore: int | None = None
    regions: tuple[Region, ...] = ()
    images: tuple[str, ...] = ()
    known_by: str = FILES

    @classmethod
    def of(
        cls,
        config: Config,
        dataset: Dataset,
        root: str | None,
        training: Sequence[CachedCase],
        held_out: Sequence[CachedCase],
        known_by: str = VOXELS,
    ) -> "DataDescription":
        """Describes the data of a training.

        Args:
            config: of the run.
            dataset: what the cases belong to.
            root: where it is, or None for the embedded cohort.
            training: the prepared cases to train on.
            held_out: the prepared cases to score.
            known_by: what digests are to be taken of, "voxels" or "files".

        Raises:
            UserError: a file of a case cannot be read any more.
        """
        labelled = {case.id: case for case in dataset.cases if case.label is not None}

        def identified(case: CachedCase) -> tuple[str, str]:
            if known_by == VOXELS:
                return case.id, case.content
            return case.id, case_digest(labelled[case.id], known_by)

        return cls(
            layout=config.data.layout,
            root=None if root is None else str(Path(root).absolute()),
            modalities=dataset.modalities,
            classes=dataset.classes,
            values=dataset.values,
            training=tuple(identified(case) for case in training),
            held_out=tuple(identified(case) for case in held_out),
            reference=dataset.reference,
            ignore=dataset.ignore,
            regions=dataset.regions if config.loss.regions else (),
            images=tuple(images_digest(labelled[case.id], known_by) for case in training),
            known_by=known_by,
        )

    @property
    def segments(self) -> str:
        """What the outputs stand for, in words: "classes background, ...", "regions WT, ..."."""
        if self.regions:
            return f"regions {', '.join(region.name for region in self.regions)}"
        return f"classes {', '.join(self.classes)}"


@dataclass(frozen=True)
class RunFolder:
    """Reads and writes the files of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def newest_step(self) -> int:
        """The newest step that was saved; 0 where none was."""
        return max(saved_steps(self.checkpoints), default=0)

    def known_by(self) -> str:
        """What digests are taken of, in the run that can be resumed here or in a new one."""
        file = self.path / "data.json"
        if not self.newest_step() or not file.exists():
            return VOXELS
        return self.read_data().known_by

    @contextlib.contextmanager
    def training(
        self, config: Config, data: DataDescription, fingerprint: Fingerprint, *, lock: bool
    ) -> Iterator[None]:
        """Writes the JSON files, and keeps other trainings out while the block runs.

        Args:
            config: of the run.
            data: that it is trained on.
            fingerprint: of its training cases.
            lock: of several processes that train together, one does it.

        Raises:
            UserError: as `write`; or another training is at work in the folder.
        """
        with folder_lock(self.path, "a training") if lock else contextlib.nullcontext():
            self.write(config, data, fingerprint)
            yield

    def write(
        self, config: Config, data: DataDescription, fingerprint: Fingerprint | None = None
    ) -> None:
        """Writes the JSON files, unless the folder holds a run that this cannot resume.

        Where nothing was saved yet there is nothing to resume. Where the last step was, nothing
        will be trained any more: no setting may be written that the parameters have not seen.

        Raises:
            UserError: the folder holds a run that this cannot resume: of another network or seed,
                on other training cases, with other preparation or classes, of more steps, or
                finished with other settings. Nothing is written.
        """
        values, described = plain(config.to_dict()), plain(asdict(data))
        if step := self.newest_step():
            self._refuse_another(step, values, described)
        # Nothing may be trained that could not be read again.
        if fault := config_fault(values, complete=True):
            raise UserError(f"{fault}; take the keys and types of configuration.py: base_config")
        self._write("config.json", signed_json.to_text(values))
        self._write("data.json", signed_json.to_text(described))
        if fingerprint is not None:
            measured = json.loads(fingerprint.to_json())
            self._write("fingerprint.json", signed_json.to_text(measured))

    def read_config(self) -> Config:
        """The configuration of the run.

        Raises:
            UserError: the folder holds no run, or the file is damaged.
        """
        return ConfigDict(tuples(config_values(self.path)))

    def read_data(self) -> DataDescription:
        """What the network was trained on.

        Raises:
            UserError: the folder holds no run, or the file is damaged.
        """
        values = tuples(self._read_data())
        regions = tuple(Region(**region) for region in values.pop("regions", ()))
        return DataDescription(**values, regions=regions)

    def read_fingerprint(self) -> Fingerprint:
        """What the training cases were like.

        Raises:
            UserError: the folder holds no fingerprint, or a damaged one.
        """
        values = field_values(self.path, "fingerprint.json", Fingerprint)
        return Fingerprint.from_json(json.dumps(values))

    def read_history(self, up_to: int) -> list[dict[str, float]]:
        """The scalars logged up to and including a step, and the file cut there.

        Raises:
            UserError: the file cannot be read or written.
        """
        file = self.path / "history.jsonl"
        if not file.exists():
            return []
        try:
            rows = [row for row in read_rows(file) if row["step"] <= up_to]
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from error
        self._write("history.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return rows

    def append_history(self, row: Mapping[str, float]) -> None:
        """Adds one line of scalars.

        Raises:
            UserError: it cannot be written, as when the disk is full.
        """
        try:
            with (self.path / "history.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}") from error

    def _refuse_another(
        self, step: int, values: Mapping[str, Any], described: Mapping[str, Any]
    ) -> None:
        """Refuses what cannot go on from a saved step; see `write`."""
        if step > values["steps"]:
            raise UserError(
                f"{self.path} holds a run that was saved at step {step}, beyond config.steps="
                f"{values['steps']}; take more steps to go on with it, or another --workdir"
            )
        for name in ("config.json", "data.json"):
            if not (self.path / name).exists():
                raise UserError(
                    f"{self.path} holds the checkpoint of step {step} and no {name}; put it "
                    "back, or give another --workdir"
                )
        if fault := settings_fault(config_values(self.path), values, step):
            raise UserError(f"{self.path} {fault}")
        if fault := data_fault(self._read_data(), described):
            raise UserError(f"{self.path} {fault}")

    def _read_data(self) -> dict[str, Any]:
        values = field_values(self.path, "data.json", DataDescription)
        if fault := _disagreement(values):
            raise signed_json.unreadable(self.path / "data.json", fault)
        return values

    def _write(self, name: str, text: str) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / name, text.encode())
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}") from error


def _disagreement(data: Mapping[str, Any]) -> str | None:
    """What does not fit together in a description whose types are right, or None."""
    if len(data["values"]) != len(data["classes"]):
        return f"it has {len(data['classes'])} classes and {len(data['values'])} values"
    count, reference = len(data["modalities"]), data.get("reference")
    if not count or not data["classes"]:
        return "it has no modalities or no classes"
    if reference is not None and not 0 <= reference < count:
        return f"reference is {reference}, and there are {count} modalities, counted from 0"
    return None
