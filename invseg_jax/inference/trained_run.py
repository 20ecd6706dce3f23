"""What a run of the segmentation task is described by, written and read back.

RUN/config.json         the experiment, every value
RUN/data.json           classes, label values and modalities; the cases trained on and held out
RUN/fingerprint.json    sizes, spacings, intensities and classes of the cases trained on
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from invseg_jax.data.layouts.case import Dataset, Region
from invseg_jax.data.prepare.cached_case import CachedCase
from invseg_jax.data.prepare.content import FILES, VOXELS, case_digest, images_digest
from invseg_jax.data.prepare.fingerprint import Fingerprint
from invseg_jax.experiment import Experiment
from invseg_jax.files.json_values import JsonObject, as_json_values, tuples
from invseg_jax.inference.resuming import data_fault, settings_fault
from invseg_jax.runs import signed_json
from invseg_jax.runs.run_files import experiment_of, field_values
from invseg_jax.runs.run_folder import RunDescription, RunFolder


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
        layout: str,
        dataset: Dataset,
        root: str | None,
        training: Sequence[CachedCase],
        held_out: Sequence[CachedCase],
        *,
        segments_regions: bool = False,
        known_by: str = VOXELS,
    ) -> "DataDescription":
        """Describes the data of a training.

        Args:
            layout: of the data set.
            dataset: what the cases belong to.
            root: where it is, or None for the embedded cohort.
            training: the prepared cases to train on.
            held_out: the prepared cases to score.
            segments_regions: whether the network segments the regions, not the classes.
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
            layout=layout,
            root=None if root is None else str(Path(root).absolute()),
            modalities=dataset.modalities,
            classes=dataset.classes,
            values=dataset.values,
            training=tuple(identified(case) for case in training),
            held_out=tuple(identified(case) for case in held_out),
            reference=dataset.reference,
            ignore=dataset.ignore,
            regions=dataset.regions if segments_regions else (),
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
class SegmentationRun(RunFolder):
    """A run's folder, with what the segmentation task writes into it."""

    def known_by(self) -> str:
        """What digests are taken of, in the run that can be resumed here or in a new one."""
        if not self.newest_step() or not (self.path / "data.json").exists():
            return VOXELS
        return self.read_data().known_by

    def write(
        self, experiment: Experiment, data: DataDescription, fingerprint: Fingerprint | None = None
    ) -> None:
        """Writes the JSON files, unless the folder holds a run that this cannot resume.

        Raises:
            UserError: as `RunFolder.describe`.
        """
        self.describe(describe(experiment, data, fingerprint))

    def read_config(self) -> Experiment:
        """The experiment of the run.

        Raises:
            UserError: the folder holds no run, or the file is damaged.
        """
        return experiment_of(self.path)

    def read_data(self) -> DataDescription:
        """What the network was trained on.

        Raises:
            UserError: the folder holds no run, or the file is damaged.
        """
        values = tuples(_data_values(self.path))
        regions = tuple(Region(**region) for region in values.pop("regions", ()))
        return DataDescription(**values, regions=regions)

    def read_fingerprint(self) -> Fingerprint:
        """What the training cases were like.

        Raises:
            UserError: the folder holds no fingerprint, or a damaged one.
        """
        values = field_values(self.path, "fingerprint.json", Fingerprint)
        return Fingerprint.from_json(json.dumps(values))


def describe(
    experiment: Experiment, data: DataDescription, fingerprint: Fingerprint | None = None
) -> RunDescription:
    """What a training of the segmentation task writes into its folder.

    A run goes on where network, seed, preparation, classes and training cases are the same. Where
    the last step was saved, nothing will be trained any more: no setting may be written that the
    parameters have not seen.

    Args:
        experiment: every value of it is written.
        data: that it is trained on.
        fingerprint: of its training cases.
    """
    settings, described = experiment.to_json(), as_json_values(asdict(data))

    def fault(folder: Path, step: int) -> str | None:
        return settings_fault(experiment_of(folder).to_json(), settings, step) or data_fault(
            _data_values(folder), described
        )

    files = {"config.json": settings, "data.json": described}
    needed = tuple(files)
    if fingerprint is not None:
        files["fingerprint.json"] = json.loads(fingerprint.to_json())
    return RunDescription(experiment.steps, files, needed, fault)


def _data_values(folder: Path) -> JsonObject:
    values = field_values(folder, "data.json", DataDescription)
    if fault := _disagreement(values):
        raise signed_json.unreadable(folder / "data.json", fault)
    return values


def _disagreement(data: JsonObject) -> str | None:
    """What does not fit together in a description whose types are right, or None."""
    if len(data["values"]) != len(data["classes"]):
        return f"it has {len(data['classes'])} classes and {len(data['values'])} values"
    count, reference = len(data["modalities"]), data.get("reference")
    if not count or not data["classes"]:
        return "it has no modalities or no classes"
    if reference is not None and not 0 <= reference < count:
        return f"reference is {reference}, and there are {count} modalities, counted from 0"
    return None
