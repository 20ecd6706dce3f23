"""Scores an interactive run: rounds of annotation on cases that it was not trained on.

RUN/eval/summary.json   means by prompt, choice and round; clicks; the quality head
RUN/eval/rounds.csv     every round of every case
RUN/eval/rounds.png     Dice against rounds
RUN/eval/quality.png    predicted against true Dice of slices
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from invseg_jax.data.layouts.case import Case, Dataset
from invseg_jax.data.prepare.loaded_case import load_case
from invseg_jax.data.prepare.shortage import one_line_for_memory
from invseg_jax.errors import UserError
from invseg_jax.evaluation.case_files import make_output
from invseg_jax.evaluation.report import strict_json, versions
from invseg_jax.evaluation.scored_cases import scored_cases
from invseg_jax.files.atomic_file import write_atomically
from invseg_jax.files.json_values import JsonObject
from invseg_jax.inference.trained_run import SegmentationRun
from invseg_jax.interactive.click_protocol import ClickScores, play_clicks
from invseg_jax.interactive.figures import draw_quality, draw_rounds
from invseg_jax.interactive.method import Method, SliceVolume
from invseg_jax.interactive.rounds import CHOICES, KINDS, ROUNDS, Annotation, Choice, play
from invseg_jax.interactive.rounds_table import RoundScore, csv_text, means, table
from invseg_jax.interactive.scores import Calibration, dice, surface_dice
from invseg_jax.interactive.stack import slice_axis
from invseg_jax.interactive.trained import load_method

RANDOM_SEEDS = 5
# The same slices, but nothing is carried: they are interpolated.
INTERPOLATED = "interpolated"


@dataclass(frozen=True, eq=False)
class Object:
    """One object of one case.

    Attributes:
        case: name of the case.
        name: of the class.
        volume: the image, slices first.
        truth: bool (slices, rows, columns).
    """

    case: str
    name: str
    volume: SliceVolume
    truth: np.ndarray


@dataclass(frozen=True, eq=False)
class Played:
    """What came of one object.

    Attributes:
        rounds: one score a round, prompt, choice and seed.
        slices: Dice of the first slice by prompt: the interaction network alone.
        judged: (slices, 2): predicted and true Dice of slices that were carried.
        clicks: the click protocol.
    """

    rounds: list[RoundScore]
    slices: dict[str, float]
    judged: np.ndarray
    clicks: ClickScores


def evaluate_rounds(
    workdir: Path,
    output: Path | None = None,
    *,
    root: str | None = None,
    split: str = "val",
    max_bytes: int | None = None,
    say: Callable[[str], None] = print,
) -> JsonObject:
    """Plays the rounds on the cases of a split, and writes the results.

    Args:
        workdir: a trained run of the task "interactive".
        output: folder of the results; None: `workdir`/eval.
        root: of a data set in the layout of the training; None for the data of the training.
        split: "val", "train" or "all".
        max_bytes: what one volume may take; None: as the run's configuration says.
        say: told one line at a time.

    Returns:
        What summary.json holds.

    Raises:
        UserError: no trained run, no such data, data of other classes, no case in the split, or an
            output that would be written over the data.
    """
    output = workdir / "eval" if output is None else output
    run, method = SegmentationRun(workdir), load_method(workdir)
    experiment, data = run.read_config(), run.read_data()
    if max_bytes is not None:
        experiment = experiment.changed({"data.max_bytes": max_bytes})
    chosen = scored_cases(workdir, experiment, data, root, split, say)
    make_output(output, (), chosen.dataset.cases)
    played: dict[tuple[str, str], Played] = {}
    for number, case in enumerate(chosen.cases, 1):
        with one_line_for_memory(case.id):
            for one in objects_of(chosen.dataset, case):
                result = play_object(one, method)
                played[one.case, one.name] = result
                say(f"{number}/{len(chosen.cases)}  {one.case}  {one.name}  {_line(result)}")
    if not played:
        raise UserError(f"{chosen.dataset.root}: no case of the split {split!r} holds an object")
    scored = {"split": split, "data": str(chosen.dataset.root)}
    return _written(output, played, {"scored": scored, "config": experiment.to_json()}, say)


def objects_of(dataset: Dataset, case: Case) -> list[Object]:
    """The objects of a case: of each foreground class that it holds, on the file's own grid."""
    loaded = load_case(dataset, case)
    assert loaded.label is not None
    spacing = tuple(float(x) for x in np.linalg.norm(loaded.affine[:3, :3], axis=0))
    axis = slice_axis(spacing)
    rows, columns = (length for i, length in enumerate(spacing) if i != axis)
    image = np.ascontiguousarray(np.moveaxis(loaded.image[..., 0], axis, 0))
    label = np.moveaxis(loaded.label, axis, 0)
    volume = SliceVolume(image, (spacing[axis], rows, columns))
    found = [
        Object(case.id, name, volume, label == index)
        for index, name in enumerate(dataset.classes)
        if index  # 0 is the background
    ]
    return [one for one in found if one.truth.any()]


def play_object(one: Object, method: Method) -> Played:
    """All prompts and choices on one object, then the clicks."""
    rounds: list[RoundScore] = []
    slices: dict[str, float] = {}
    judged: list[np.ndarray] = []
    blank = Annotation.begin(one.volume, one.truth)
    for kind in KINDS:
        # The first round is the same for all choices.
        (first,) = play(blank, method, kind, "oracle", 0, 1)
        ((index, mask),) = first.confirmed.items()
        slices[kind] = dice(mask, one.truth[index])
        for choice in CHOICES:
            for seed in range(RANDOM_SEEDS if choice == "random" else 1):
                course = [first, *play(first, method, kind, choice, seed)]
                rounds += _scored(one, kind, choice, seed, course)
                if kind == KINDS[0] and choice == "predicted":
                    judged += [_judged(now) for now in course]
    return Played(rounds, slices, np.concatenate(judged), play_clicks(blank, method))


def _scored(
    one: Object, kind: str, choice: Choice, seed: int, course: list[Annotation]
) -> list[RoundScore]:
    spacing = one.volume.spacing
    found: list[RoundScore] = []
    for number, now in enumerate(course, 1):
        masks = {choice: now.found}
        if choice == "predicted":
            masks[INTERPOLATED] = now.interpolated
        found += [
            RoundScore(
                f"{one.case} {one.name}",
                kind,
                name,
                seed,
                number,
                dice(mask, one.truth),
                surface_dice(mask, one.truth, spacing),
                now.seconds,
            )
            for name, mask in masks.items()
        ]
    return found


def _judged(now: Annotation) -> np.ndarray:
    """Predicted and true Dice of the slices that hold the object, or in which it was found."""
    carried = [z for z in range(len(now.truth)) if z not in now.confirmed]
    pairs = [
        (now.quality[z], dice(now.found[z], now.truth[z]))
        for z in carried
        if now.found[z].any() or now.truth[z].any()
    ]
    return np.array(pairs, float).reshape(-1, 2)


def _line(result: Played) -> str:
    """Dice after the first and the last round, for the user."""
    shown = []
    for kind in KINDS:
        scores = [r.dice for r in result.rounds if (r.prompt, r.choice) == (kind, "predicted")]
        shown.append(f"{kind.replace('_', ' ')} {scores[0]:.3f} to {scores[-1]:.3f}")
    return "Dice " + "  ".join(shown)


def _written(
    output: Path,
    played: dict[tuple[str, str], Played],
    about: dict[str, object],
    say: Callable[[str], None],
) -> JsonObject:
    """Writes the files; gives what summary.json holds."""
    rounds = [score for result in played.values() for score in result.rounds]
    judged = np.concatenate([result.judged for result in played.values()])
    calibration = Calibration.of(*judged.T)
    dices, surfaces, seconds = (means(rounds, what) for what in ("dice", "surface_dice", "seconds"))
    clicks = [result.clicks.summary for result in played.values()]
    final = {
        name: float(np.mean([_final(result) for (_, n), result in played.items() if n == name]))
        for name in dict.fromkeys(name for _, name in played)
    }
    summary = strict_json(
        {
            "mean": {"dice": final},
            "cases": [
                {"id": case, "class": name, "dice": _final(result), "slice_dice": result.slices}
                for (case, name), result in played.items()
            ],
            "rounds": dices,
            "surface_rounds": surfaces,
            "seconds": seconds,
            "slice_dice": {
                kind: float(np.mean([result.slices[kind] for result in played.values()]))
                for kind in KINDS
            },
            "clicks": {key: float(np.mean([c[key] for c in clicks])) for key in clicks[0]},
            "quality": {
                "rank_correlation": calibration.correlation,
                "calibration_error": calibration.error,
                "slices": len(judged),
            },
            **about,
            "versions": versions(),
        }
    )
    text = json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(output / "summary.json", text.encode())
    write_atomically(output / "rounds.csv", csv_text(rounds).encode())
    draw_rounds(output / "rounds.png", dices, ROUNDS)
    draw_quality(output / "quality.png", judged, calibration)
    Console(highlight=False).print(table(dices))
    say(
        f"quality head: rank correlation {calibration.correlation:.2f}, calibration error "
        f"{calibration.error:.3f} on {len(judged)} slices"
    )
    say(f"curve: {output / 'rounds.png'}")
    return summary


def _final(result: Played) -> float:
    """Dice after the last round with extreme points on the suggested slices."""
    course = [r for r in result.rounds if (r.prompt, r.choice) == (KINDS[0], "predicted")]
    return course[-1].dice
