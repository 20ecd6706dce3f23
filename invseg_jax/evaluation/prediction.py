"""Segments images that may have no label maps: label maps and pictures, case by case."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from invseg_jax.data.layouts import Dataset
from invseg_jax.data.prepare.loaded_case import load_case
from invseg_jax.data.prepare.shortage import one_line_for_memory, ran_out
from invseg_jax.data.volumes.nifti import limit_volumes
from invseg_jax.errors import SomeFailed, UserError
from invseg_jax.evaluation.case_files import make_output, write_case_files
from invseg_jax.inference.inputs import cases_around, find_inputs, refuse_missing_input
from invseg_jax.inference.likeness import tell_differences
from invseg_jax.inference.mirroring import warning_of_sides
from invseg_jax.inference.segmentation import load_trained_network, refuse_large_case, segment
from invseg_jax.inference.training_images import read_training_images


def predict(
    workdirs: Sequence[Path],
    source: Path,
    output: Path,
    *,
    mirror: tuple[bool, bool, bool] | None = None,
    max_bytes: int | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Segments every case of `source`.

    Args:
        workdirs: trained runs; their class probabilities are averaged.
        source: see `inference.inputs.find_inputs`.
        output: folder of the results.
        mirror: axes along which to mirror; None: as each run's configuration says. Each run must
            have been trained with mirror images along them.
        max_bytes: what one volume may take; None: as the first run's configuration says.
        say: told one line at a time.

    Returns:
        The label maps, in order.

    Raises:
        UserError: no trained run, one that has not learned such mirror images, runs of different
            tasks or grids, no image, or an image or a label map of the data that would be written
            over.
        SomeFailed: some images could not be segmented; the others are written.
    """
    refuse_missing_input(source)
    runs = [load_trained_network(workdir, mirror) for workdir in workdirs]
    segmenters = [segmenter for segmenter, _, _ in runs]
    settings, (_, experiment, data) = segmenters[0].settings, runs[0]
    limit_volumes(max_bytes or experiment.data.max_bytes)
    for workdir, (segmenter, _, other) in zip(workdirs, runs, strict=True):
        same = "segments", "regions", "classes", "values", "modalities", "reference"
        if any(getattr(other, part) != getattr(data, part) for part in same):
            raise UserError(
                f"{workdir} was trained for the {other.segments} of {', '.join(other.modalities)}, "
                f"{workdirs[0]} for the {data.segments} of {', '.join(data.modalities)}, or with "
                "other values; they cannot be averaged"
            )
        if segmenter.settings.grid != settings.grid:
            raise UserError(
                f"{workdir} and {workdirs[0]} differ in what config.data.preprocess makes of the "
                "grid (canonical, spacing, crop or margin); they cannot be averaged"
            )
        # The other modalities come onto the reference's grid once, for all networks.
        read = segmenter.settings.interpolation
        if data.reference is not None and read != settings.interpolation:
            raise UserError(
                f"{workdir} was trained with config.data.preprocess.interpolation={read}, "
                f"{workdirs[0]} with {settings.interpolation}; they cannot be averaged"
            )
    cases = find_inputs(source, data.layout, data.modalities, experiment.data.plain)
    targets = [output / f"{case.id}.nii.gz" for case in cases]
    # The images alone may have been given, and the folder of their label maps as the output.
    around = cases_around(output, data.layout, experiment.data.plain)
    labelled = (case for case in around if case.label is not None)
    make_output(output, (case.id for case in cases), (*cases, *labelled))
    dataset = Dataset(
        name=str(source),
        root=source,
        modalities=data.modalities,
        classes=data.classes,
        values=data.values,
        cases=tuple(replace(case, label=None) for case in cases),
        ignore=data.ignore,
        reference=data.reference,
    )
    for workdir, (_, own, other) in zip(workdirs, runs, strict=True):
        if warning := warning_of_sides(workdir, own, other):
            say(warning)
    training, notes = read_training_images(workdirs)
    for note in dict.fromkeys(notes):
        say(note)
    faults: list[str] = []  # not the errors, whose tracebacks would keep every array
    for number, (case, target) in enumerate(zip(dataset.cases, targets, strict=True), 1):
        begun, fault = time.perf_counter(), ""
        try:
            refuse_large_case(dataset, case, segmenters)
            with one_line_for_memory(case.id):
                loaded = load_case(dataset, case, settings.interpolation)
                for note in loaded.notes:
                    say(f"case {case.id}: {note}")
                tell_differences(training, settings, loaded, say)
                prediction = segment(loaded, segmenters)
        except UserError as error:  # one damaged file is no reason to leave out the others
            fault = str(error)
        else:
            try:
                write_case_files(
                    output,
                    case.id,
                    image=loaded.image,
                    prediction=prediction,
                    truth=None,
                    classes=data.classes,
                    values=data.values,
                    affine=loaded.affine,
                    placement=loaded.placement,
                )
            except MemoryError as error:
                fault = f"case {case.id}: {ran_out(error)}"
            del loaded, prediction  # or they would stay while the next case is read
        if fault:
            faults.append(fault)
            say(f"{number}/{len(cases)}  {case.id}  left out: {fault}")
            continue
        seconds = time.perf_counter() - begun
        say(f"{number}/{len(cases)}  {case.id}  -> {target}  ({seconds:.1f} s)")
    if faults:
        raise SomeFailed(
            f"{len(faults)} of {len(cases)} cases could not be segmented, the first: {faults[0]}"
        )
    return targets
