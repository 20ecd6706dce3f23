"""Evaluation as one call."""

import os
from collections.abc import Callable
from pathlib import Path

from invseg_jax.data.volumes.nifti import limit_given_back
from invseg_jax.errors import arguments_named
from invseg_jax.evaluation.scoring import evaluate as _evaluate
from invseg_jax.files.json_values import JsonObject


def evaluate(
    workdir: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    split: str = "val",
    output: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] = print,
) -> JsonObject:
    """Segments and scores cases that a run was not trained on, and writes the report.

    Args:
        workdir: the folder that training wrote.
        data: root of a data set in the layout of the training; None: that of the training.
        split: "val": cases that were not trained on; "train": those trained on; "all": both.
        output: folder of summary.json, cases.csv, report.html, label maps and pictures; None:
            `workdir`/eval.
        say: told one line at a time.

    Returns:
        What summary.json holds: "mean" (such as `["mean"]["dice"]["CSF"]`), "cases", "config" and
        "versions".

    Raises:
        UserError: no trained run, no such data, data of other classes or modalities, or no case in
            the split.
    """
    with arguments_named(), limit_given_back():
        return _evaluate(
            Path(workdir),
            None if output is None else Path(output),
            root=None if data is None else str(data),
            split=split,
            say=say,
        )
