"""Scores a trained network on the cases of a data set: label maps, pictures, report."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from invseg_jax.data.batches.regions import Regions
from invseg_jax.data.batches.sparse_annotation import leave_out_slices
from invseg_jax.data.prepare.loaded_case import load_case
from invseg_jax.data.prepare.shortage import one_line_for_memory
from invseg_jax.errors import UserError
from invseg_jax.evaluation.case_files import make_output, write_case_files
from invseg_jax.evaluation.report import CaseResult, tables, write_report
from invseg_jax.evaluation.scored_cases import scored_cases
from invseg_jax.files.json_values import JsonObject
from invseg_jax.inference.likeness import tell_differences
from invseg_jax.inference.mirroring import warning_of_sides
from invseg_jax.inference.segmentation import load_trained_network, refuse_large_case, segment
from invseg_jax.inference.training_images import read_training_images


def evaluate(
    workdir: Path,
    output: Path | None = None,
    *,
    root: str | None = None,
    split: str = "val",
    mirror: tuple[bool, bool, bool] | None = None,
    max_bytes: int | None = None,
    say: Callable[[str], None] = print,
) -> JsonObject:
    """Segments and scores the cases of a split, and writes the report.

    Args:
        workdir: the trained run.
        output: folder of the results; None: `workdir`/eval.
        root: of a data set in the layout of the training; None for the data of the training.
        split: "val", "train" or "all".
        mirror: axes along which to mirror; None: as the run's configuration says. It must have
            been trained with mirror images along them.
        max_bytes: what one volume may take; None: as the run's configuration says.
        say: told one line at a time.

    Returns:
        What summary.json holds.

    Raises:
        UserError: no trained run, one that has not learned such mirror images, no such data, data
            of other classes or modalities, no case in the split, or an output that would be written
            over the data.
    """
    output = workdir / "eval" if output is None else output
    segmenter, experiment, data = load_trained_network(workdir, mirror)
    if max_bytes is not None:
        experiment = experiment.changed({"data.max_bytes": max_bytes})
    chosen = scored_cases(workdir, experiment, data, root, split, say)
    dataset, cases, own = chosen.dataset, chosen.cases, chosen.own
    for case in cases:
        refuse_large_case(dataset, case, [segmenter])

    regions = Regions.of(dataset.regions, dataset.values)
    region_names = () if regions is None else regions.names
    make_output(output, (case.id for case in cases), dataset.cases)
    if warning := warning_of_sides(workdir, experiment, data):
        say(warning)
    training, notes = (None, []) if own else read_training_images([workdir])
    for note in notes:
        say(note)
    slices = experiment.data.annotated_slices
    results, pictures = [], {}
    for number, case in enumerate(cases, 1):
        begun = time.perf_counter()
        with one_line_for_memory(case.id):
            loaded = load_case(dataset, case, segmenter.settings.interpolation)
            assert loaded.label is not None
            tell_differences(training, segmenter.settings, loaded, say)
            try:
                prediction = segment(loaded, [segmenter])
            except UserError as error:
                raise UserError(f"case {case.id}: {error}") from error
        scored = loaded.label
        if slices and chosen.trained_on(case):
            scored = leave_out_slices(scored, slices)
        result = CaseResult.compare(case.id, prediction, scored, len(data.classes), regions)
        pictures[case.id] = write_case_files(
            output,
            case.id,
            image=loaded.image,
            prediction=prediction,
            truth=loaded.label,
            classes=data.classes,
            values=data.values,
            affine=loaded.affine,
            placement=loaded.placement,
        )
        del loaded, scored, prediction  # or they would stay while the next case is read
        results.append(result)
        scores = "  ".join(
            f"{name} {score:.3f}" for name, score in zip(data.classes[1:], result.dice, strict=True)
        )
        seconds = time.perf_counter() - begun
        say(f"{number}/{len(cases)}  {case.id}  Dice {scores}  ({seconds:.1f} s)")
    summary = write_report(
        output,
        results=results,
        classes=data.classes,
        config=experiment.to_json(),
        pictures=pictures,
        regions=region_names,
        scored={
            "split": split,
            "data": str(dataset.root),
            **({} if segmenter.step is None else {"step": segmenter.step}),
        },
    )
    Console(highlight=False).print(*tables(results, data.classes, region_names), sep="\n")
    say(f"report: {output / 'report.html'}")
    return summary
