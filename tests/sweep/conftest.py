"""Grids of tiny configurations, and run folders made by hand."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from invseg_jax.experiment import Experiment, base_experiment
from invseg_jax.sweep.grid import Run, Sweep, Vary


def load(file: str, changes: Sequence[str]) -> Experiment:
    """An experiment whose file's name is that of its network; KEY=NUMBER changes it."""
    experiment = base_experiment("UNet3D" if "unet" in file else "FullInvRes")
    values: dict[str, Any] = {"steps": 40, "optimiser.warmup": 0}
    for change in changes:
        key, _, value = change.partition("=")
        values[key] = json.loads(value)
    return experiment.changed(values)


@pytest.fixture
def make_grid() -> Callable[..., Sweep]:
    """Builds a grid; `vary` may be a text."""

    def make(*files: str, vary: str | None = None, **options: Any) -> Sweep:
        return Sweep.build(
            files or ("configs/full.py", "configs/unet.py:cpu"),
            load,
            vary=None if vary is None else Vary.parse(vary),
            **options,
        )

    return make


@pytest.fixture
def finish() -> Callable[..., None]:
    """Writes what a finished training and, where scores are given, its evaluation leave."""

    def write(
        folder: Path,
        run: Run,
        scores: dict[str, Any] | None,
        *,
        steps: int = 40,
        rate: float = 4.0,
        root: str | None = None,
    ) -> None:
        config = run.experiment(steps).to_json()
        (folder / "checkpoints" / str(steps)).mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "data.json").write_text(json.dumps({"root": root}))
        rates = [0.1, *[rate] * 8]
        rows = [{"step": i, "train/steps_per_second": r} for i, r in enumerate(rates, 1)]
        rows.insert(5, {"step": 5, "val/dice/mean": 0.5})
        (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if scores is not None:
            (folder / "compare").mkdir(exist_ok=True)
            summary = {"mean": scores, "cases": [], "config": config}
            (folder / "compare" / "summary.json").write_text(json.dumps(summary))
            os.utime(folder / "checkpoints" / str(steps), (1e9, 1e9))

    return write
