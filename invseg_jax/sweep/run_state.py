"""How far a run is: not begun, trained to its end, scored; and what it scored.

Nothing here starts JAX: on a GPU the memory belongs to the process that trains.
"""

import contextlib
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invseg_jax.data.batches.flips import choose_flips
from invseg_jax.errors import UserError
from invseg_jax.evaluation.report import strict_json
from invseg_jax.experiment import Experiment
from invseg_jax.files.json_values import JsonObject
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.runs import signed_json
from invseg_jax.runs.history import read_rows
from invseg_jax.runs.run_files import experiment_of
from invseg_jax.runs.saved_steps import saved_steps
from invseg_jax.sweep.grid import Run

# Within a run's, the folder of the scores that count: its eval/ may hold those of any cases.
SCORES_FOLDER = "compare"
# What changes nothing of the training, so that it may be another when a comparison goes on.
FREE = ("inference", "eval_every", "eval_cases", "save_every", "log_every", "keep")


@dataclass(frozen=True)
class Result:
    """What came of one finished run.

    Attributes:
        run: which.
        steps: it was trained for.
        scores: by kind ("dice", and where there are any "iou", "region_dice") and name (each class
            or region, and "mean"): means over the cases; NaN where there is none.
        step_seconds: of one training step; NaN where too few were logged.
    """

    run: Run
    steps: int
    scores: Mapping[str, Mapping[str, float]]
    step_seconds: float

    @property
    def minutes(self) -> float:
        """That its steps took: without compiling, validating and saving."""
        return self.steps * self.step_seconds / 60


def refuse_another(folder: Path, run: Run, steps: int | None, root: str | None) -> None:
    """Checks that a run's folder is empty or belongs to the run.

    Args:
        folder: of the run.
        run: what is to be trained.
        steps: for so many steps; None where that is not known yet.
        root: of its data set, or None for the embedded cohort.

    Raises:
        UserError: it was trained by other settings or on other data.
    """
    known = _experiment(folder)
    if known is None:
        return
    wanted = _settled(run.experiment(known.steps if steps is None else steps), folder, known)
    there, wanted = (
        {key: value for key, value in experiment.to_json().items() if key not in FREE}
        for experiment in (known, wanted)
    )
    if found := _difference(there, wanted):
        key, before, now = found
        raise UserError(
            f"{folder} was trained with config.{key} {before}, now {now}; give another --output, "
            "or delete that folder"
        )
    file = folder / "data.json"
    data = signed_json.read(file).values if file.exists() else {}
    if not isinstance(data.get("root"), str | None):
        raise signed_json.unreadable(file, f"root is {data['root']!r}, not a text")
    before, now = (path and str(Path(path).resolve()) for path in (data.get("root"), root))
    if "root" in data and before != now:
        raise UserError(
            f"{folder} was trained on {before or 'the embedded cohort'}, now "
            f"{now or 'the embedded cohort'}; give another --output, or delete that folder"
        )


def is_trained(folder: Path, experiment: Experiment) -> bool:
    """Whether the newest checkpoint is that of the last step, by this configuration."""
    newest = _newest_checkpoint(folder)
    return (
        newest is not None
        and int(newest.name) == experiment.steps
        and (there := _experiment(folder)) is not None
        and there == _settled(experiment, folder, there)
    )


def is_scored(folder: Path, experiment: Experiment) -> bool:
    """Whether its scores are those of the trained network, and not of one on the way there."""
    newest, file = _newest_checkpoint(folder), folder / SCORES_FOLDER / "summary.json"
    if newest is None or not is_trained(folder, experiment):
        return False
    summary, there = _read(file) or {}, _experiment(folder)
    assert there is not None  # it is trained
    return (
        scored_step(folder) in (None, experiment.steps)
        and summary.get("config") == strict_json(there.to_json())
        and file.stat().st_mtime >= newest.stat().st_mtime
    )


def scored_step(folder: Path) -> int | None:
    """The step of the checkpoint that was scored, which is an older one where the last is damaged.

    None where nothing was scored, or where an earlier version scored it.
    """
    file = folder / SCORES_FOLDER / "summary.json"
    return _part(_read(file) or {}, "scored", file).get("step")


def read_result(folder: Path, run: Run, steps: int) -> Result | None:
    """The result of a run, or None where it is not finished."""
    if not is_scored(folder, run.experiment(steps)):
        return None
    file = folder / SCORES_FOLDER / "summary.json"
    means = _part(_read(file) or {}, "mean", file)
    kinds = {k: v for k, v in means.items() if isinstance(v, dict) and "mean" in v}
    for value in (value for by_name in kinds.values() for value in by_name.values()):
        if value is not None and type(value) not in (int, float):
            raise _damaged(file, f"a mean is {value!r}")
    scores = {
        kind: {name: math.nan if v is None else float(v) for name, v in by_name.items()}
        for kind, by_name in kinds.items()
    }
    if "dice" not in scores:
        raise _damaged(file, "it has no mean Dice")
    return Result(run, steps, scores, step_seconds(folder))


def step_seconds(folder: Path) -> float:
    """Seconds of one training step: the median over the later half of what was logged.

    The first step compiles and is left out in any case; NaN where nothing else was logged.
    """
    try:
        rows = read_rows(folder / "history.jsonl")
    except OSError:
        return math.nan
    rates = [rate for row in rows if (rate := row.get("train/steps_per_second", 0)) > 0]
    later = rates[max(1, len(rates) // 2) :]
    return 1 / statistics.median(later) if later else math.nan


def _newest_checkpoint(folder: Path) -> Path | None:
    steps = saved_steps(folder / "checkpoints")
    return folder / "checkpoints" / str(steps[-1]) if steps else None


def _settled(experiment: Experiment, folder: Path, there: Experiment) -> Experiment:
    """An experiment whose open settings are as a training on a folder's data settles them.

    Args:
        experiment: `augment.flip` and `augment.spacing` may be left open.
        folder: of the run.
        there: what the run was trained by. It may have other values, given by hand.
    """
    if there.augment.flip is None or not (folder / "data.json").exists():
        return experiment
    run, fingerprint = SegmentationRun(folder), None
    data = run.read_data()
    with contextlib.suppress(UserError):  # a run of an earlier version
        fingerprint = run.read_fingerprint()
    names = [region.name for region in data.regions] or data.classes
    augment, preprocess = experiment.augment, experiment.data.preprocess
    flips = choose_flips(augment, preprocess, names, fingerprint=fingerprint)
    # A run of an earlier version took voxels for cubes, and has no spacing.
    spacing = there.augment.spacing
    if spacing is not None and fingerprint is not None:
        spacing = fingerprint.median_spacing(preprocess.spacing)
    return experiment.changed({"augment": augment.settled(flips.probabilities, spacing)})


def _experiment(folder: Path) -> Experiment | None:
    """What a run's config.json holds, checked; None where the file is missing."""
    return experiment_of(folder) if (folder / "config.json").exists() else None


def _read(file: Path) -> JsonObject | None:
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(found, dict):
        raise _damaged(file, "it is no JSON object")
    return found


def _part(values: JsonObject, name: str, file: Path) -> JsonObject:
    part = values.get(name, {})
    if not isinstance(part, dict):
        raise _damaged(file, f"{name} is {part!r}, not an object")
    return part


def _damaged(file: Path, fault: str) -> UserError:
    return UserError(f"{file} cannot be read: {fault}; delete it to make it anew")


def _difference(before: Any, now: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first key of both whose value differs, and the two values."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = (_difference(before[k], now[k], f"{key}.{k}") for k in now if k in before)
        return next(filter(None, found), None)
    return None if before == now else (key.lstrip("."), before, now)
