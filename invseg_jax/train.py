"""Trains the networks of a configuration, and resumes by itself where RUN holds a checkpoint.

    python -m invseg_jax.train --config configs/iseg.py:quick --workdir RUN
    python -m invseg_jax.train --config configs/hippocampus.py:cpu --data ROOT --workdir RUN
    python -m invseg_jax.train --config configs/iseg.py:quick --workdir RUN --config.steps=500
    python -m invseg_jax.train --config configs/iseg.py:quick --workdir RUN --profile 10:13

RUN receives config.json, data.json, fingerprint.json, checkpoints/, history.jsonl, progress.png and
tensorboard/, and profile/ where it was asked for.
A run that was stopped goes on from its newest checkpoint when the same command is given again; on
SIGTERM it saves first.
"""

import gc
from pathlib import Path

from absl import flags

from invseg_jax import command

FLAGS = command.new_flags()
command.define_config(FLAGS)
flags.DEFINE_string("workdir", None, "Folder of the run.", flag_values=FLAGS)
flags.DEFINE_string(
    "data", None, "Root of the data set; without it, the embedded cohort.", flag_values=FLAGS
)
flags.DEFINE_string(
    "profile",
    None,
    "START:STOP writes a trace of steps START to STOP - 1, counted from 0, and a memory profile to "
    "RUN/profile. Step 0 compiles.",
    flag_values=FLAGS,
)
command.define_compilation_cache(FLAGS)
flags.mark_flag_as_required("workdir", flag_values=FLAGS)


def main(values: flags.FlagValues) -> None:
    """Runs the command line's training."""
    experiment = command.read_config(values)
    command.enable_compilation_cache(values)
    gc.set_threshold(50_000)  # tracing makes a million objects that stay; 700 is a tenth of a start
    from invseg_jax.devices import mesh
    from invseg_jax.inference.trained_run import SegmentationRun
    from invseg_jax.interactive.tasks import open_task
    from invseg_jax.training.preemption import StopRequest
    from invseg_jax.training.profile import parse_window
    from invseg_jax.training.trainer import Trainer

    workdir, window = Path(values.workdir), parse_window(values.profile, experiment.steps)
    mesh.prepare_devices(experiment.devices, experiment.data.batch)
    known_by = SegmentationRun(workdir).known_by()
    task = open_task(experiment, values.data, command.say, known_by=known_by)
    with StopRequest() as stop:
        trainer = Trainer(
            experiment,
            experiment.optimiser,
            workdir,
            say=command.say,
            stopping=lambda: stop.asked,
            profile=window,
        )
        fitted = trainer.fit(task)
    if fitted.stopped:
        command.say(
            f"stopped by SIGTERM after step {fitted.step}; the same command goes on from there"
        )
        raise SystemExit(StopRequest.EXIT_STATUS)
    split = "" if task.held_out else " --split train"
    command.say(
        f"done: {experiment.steps} steps; python -m invseg_jax.evaluate --workdir {workdir}{split}"
    )


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
