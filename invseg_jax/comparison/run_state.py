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

from invseg_jax.comparison.grid import Run
from invseg_jax.configuration import Config
from invseg_jax.data.flips import choose_flips, with_flips
from invseg_jax.errors import UserError
from invseg_jax.evaluation.report import strict_json
from invseg_jax.training.run_folder import RunFolder

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
    there = _read(folder / "config.json")
    if there is None:
        return
    wanted = _plain(_settled(run.config(there.get("steps", 1) if steps is None else steps), folder))
    # A key that the folder lacks is younger than the run.
    there, wanted = ({k: v for k, v in c.items() if k not in FREE} for c in (there, wanted))
    if found := _difference(there, wanted):
        key, before, now = found
        raise UserError(
            f"{folder} was trained with config.{key} {before}, now {now}; give another --output, "
            "or delete that folder"
        )
    data = _read(folder / "data.json") or {}
    before, now = (path and str(Path(path).resolve()) for path in (data.get("root"), root))
    if "root" in data and before != now:
        raise UserError(
            f"{folder} was trained on {before or 'the embedded cohort'}, now "
            f"{now or 'the embedded cohort'}; give another --output, or delete that folder"
        )


def is_trained(folder: Path, config: Config) -> bool:
    """Whether the newest checkpoint is that of the last step, by this configuration."""
    newest = _newest_checkpoint(folder)
    return (
        newest is not None
        and int(newest.name) == config.steps
        and _read(folder / "config.json") == _plain(_settled(config, folder))
    )


def is_scored(folder: Path, config: Config) -> bool:
    """Whether its scores are those of the trained network, and not of one on the way there."""
    newest, summary = _newest_checkpoint(folder), folder / SCORES_FOLDER / "summary.json"
    return (
        newest is not None
        and is_trained(folder, config)
        and (_read(summary) or {}).get("config") == strict_json(_settled(config, folder).to_dict())
        and summary.stat().st_mtime >= newest.stat().st_mtime
    )


def read_result(folder: Path, run: Run, steps: int) -> Result | None:
    """The result of a run, or None where it is not finished."""
    if not is_scored(folder, run.config(steps)):
        return None
    summary = _read(folder / SCORES_FOLDER / "summary.json") or {}
    scores = {
        kind: {name: math.nan if v is None else float(v) for name, v in by_name.items()}
        for kind, by_name in summary["mean"].items()
        if isinstance(by_name, dict) and "mean" in by_name
    }
    return Result(run, steps, scores, step_seconds(folder))


def step_seconds(folder: Path) -> float:
    """Seconds of one training step: the median over the later half of what was logged.

    The first step compiles and is left out in any case; NaN where nothing else was logged.
    """
    try:
        lines = (folder / "history.jsonl").read_text().splitlines()
    except OSError:
        return math.nan
    rates = []
    for line in lines:
        try:
            rate = json.loads(line).get("train/steps_per_second", 0)
        except json.JSONDecodeError:
            break  # the last line of a killed run
        if rate > 0:
            rates.append(rate)
    later = rates[max(1, len(rates) // 2) :]
    return 1 / statistics.median(later) if later else math.nan


def _newest_checkpoint(folder: Path) -> Path | None:
    # A checkpoint that is being written, or was when the process was killed, has another name.
    found = [path for path in folder.glob("checkpoints/*") if path.name.isdigit()]
    return max(found, key=lambda path: int(path.name), default=None)


def _settled(config: Config, folder: Path) -> Config:
    """A configuration with what it leaves open as the training in a folder has settled it."""
    there = (_read(folder / "config.json") or {}).get("augment", {}).get("flip")
    if there is None:
        return config
    data, fingerprint = _read(folder / "data.json") or {}, None
    with contextlib.suppress(UserError):  # a run of an earlier version
        fingerprint = RunFolder(folder).read_fingerprint()
    names = [region["name"] for region in data.get("regions", ())] or data.get("classes", ())
    return with_flips(config, choose_flips(config, names, fingerprint=fingerprint))


def _plain(config: Config) -> dict[str, Any]:
    """As it comes back from JSON."""
    return json.loads(json.dumps(config.to_dict()))


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error}); delete it to make it anew") from error


def _difference(before: Any, now: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The first key of both whose value differs, and the two values."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = (_difference(before[k], now[k], f"{key}.{k}") for k in now if k in before)
        return next(filter(None, found), None)
    return None if before == now else (key.lstrip("."), before, now)
