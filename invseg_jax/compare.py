r"""Trains configurations side by side, over folds and seeds, and writes one table of their scores.

    python -m invseg_jax.compare --config configs/hippocampus.py:cpu-full \
        --config configs/hippocampus.py:cpu-unet --seeds 0,1,2 --data ROOT --output DIR
    python -m invseg_jax.compare --config configs/iseg.py:quick --set steps=200 \
        --vary "data.foreground=0|0.33|0.67" --output DIR
    python -m invseg_jax.compare --config A.py --config B.py --minutes 30 --data ROOT --output DIR

Each run is a training in DIR/runs/NAME and an evaluation in its folder compare/, one after the
other. After each of them DIR receives table.md, table.csv, runs.csv (every run and class) and
table.png: Dice as mean and sample standard deviation over the runs, parameters, memory and time of
a training step.

A comparison that was stopped goes on when the same command is given again; finished runs stay, and
more folds, seeds, values or configurations may be added to them. (What a kill -9 leaves at work is
the training; its run fails until that has ended.) A run that fails is named in the table, the
others are done, and the exit status is 1.
"""

from pathlib import Path

from absl import flags

from invseg_jax import command
from invseg_jax.errors import UserError

FAILED = 1

FLAGS = command.new_flags()
flags.DEFINE_multi_string(
    "config",
    None,
    "A configuration, FILE.py or FILE.py:VARIANT",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "set",
    None,
    "KEY=VALUE for all of them, what --config.KEY=VALUE is for train",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "vary",
    None,
    "KEY=VALUE|VALUE|VALUE: each configuration with each of the values.",
    flag_values=FLAGS,
)
flags.DEFINE_string("folds", "0", "Folds to hold out, as 0,1,2.", flag_values=FLAGS)
flags.DEFINE_string(
    "seeds", "0", "Of the weights, crops and augmentation, as 0,1,2.", flag_values=FLAGS
)
flags.DEFINE_string(
    "data", None, "Root of the data set; without it, the embedded cohort.", flag_values=FLAGS
)
flags.DEFINE_string("output", None, "Folder of the comparison.", flag_values=FLAGS)
flags.DEFINE_float(
    "minutes",
    None,
    "Train each configuration for so long instead of its number of steps; a short probe measures "
    "how many steps that are on this machine.",
    flag_values=FLAGS,
)
flags.mark_flags_as_required(["config", "output"], flag_values=FLAGS)


def main(values: flags.FlagValues) -> None:
    """Runs the command line's comparison."""
    from rich.console import Console

    from invseg_jax.sweep.comparison import Comparison
    from invseg_jax.sweep.grid import Sweep, Vary
    from invseg_jax.sweep.table import terminal

    vary = None if values.vary is None else Vary.parse(values.vary)
    changes = values.set or []
    if values.minutes is not None:
        refuse_steps([*changes, values.vary or ""])
    grid = Sweep.build(
        values.config,
        command.load_config,
        changes=changes,
        vary=vary,
        folds=_numbers("folds", values.folds),
        seeds=_numbers("seeds", values.seeds),
    )
    folder = Path(values.output)
    comparison = Comparison(grid, folder, root=values.data, minutes=values.minutes, say=command.say)
    outcome = comparison.run()
    Console(highlight=False).print(*terminal(outcome), sep="\n")
    for name, reason in outcome.failed.items():
        command.say(f"failed: {name}: {reason}")
    command.say(f"table: {folder / 'table.md'}, picture: {folder / 'table.png'}")
    if outcome.failed:
        raise SystemExit(FAILED)


def refuse_steps(changes: list[str]) -> None:
    """Checks that nothing else sets what --minutes sets.

    Raises:
        UserError: it does.
    """
    if any(change.partition("=")[0] == "steps" for change in changes):
        raise UserError("--minutes sets config.steps; leave steps out of --set and --vary")


def _numbers(name: str, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise UserError(f"--{name} {text!r}: give whole numbers, as 0,1,2") from error


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
