"""Trains a segmentation network, and resumes by itself where RUN holds a checkpoint.

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
import time
from pathlib import Path
from typing import Any

from absl import flags

from invseg_jax import command
from invseg_jax.configuration import Config, check_config, patches_a_step

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
    config = command.read_config(values)
    command.enable_compilation_cache(values)
    gc.set_threshold(50_000)  # tracing makes a million objects that stay; 700 is a tenth of a start
    train(config, Path(values.workdir), values.data, profile=values.profile)


def train(
    config: Config, workdir: Path, root: str | None = None, *, profile: str | None = None
) -> None:
    """Trains from the newest checkpoint in `workdir`, or from the start, to `config.steps`.

    Args:
        config: see `configs/`.
        workdir: the run's folder.
        root: of the data set; None for the embedded cohort, where the configuration has one.
        profile: START:STOP, the steps to trace into `workdir`/profile.

    Raises:
        UserError: a fault of the configuration or of the data, and nothing in `workdir` is changed;
            or in the course of training, a loss that is not finite, or memory or disk that ran out.
        SystemExit: stopped by SIGTERM, after saving.
    """
    # Imported here, so that --help and a wrong flag answer at once.
    import jax

    from invseg_jax.data.checks.cases import refuse_faults
    from invseg_jax.data.flips import choose_flips, with_flips
    from invseg_jax.data.pipeline import check_stream, training_batches
    from invseg_jax.data.preprocess import Preprocessing
    from invseg_jax.data.regions import regions_to_segment
    from invseg_jax.data.source import chosen_cases, open_source, prepared_split, tell_split
    from invseg_jax.data.sparse_annotation import check_slices
    from invseg_jax.evaluation.validate import mean_dice, mean_reconstruction
    from invseg_jax.inference.mirroring import check_mirror
    from invseg_jax.inference.network import as_network, build_model
    from invseg_jax.models import margin
    from invseg_jax.planning.compiled import shortage
    from invseg_jax.training import mesh
    from invseg_jax.training.checkpoints import Checkpoints
    from invseg_jax.training.divergence import refuse_divergence
    from invseg_jax.training.log import TrainingLog
    from invseg_jax.training.preemption import StopRequest
    from invseg_jax.training.profile import Profile, parse_window
    from invseg_jax.training.program import TrainingProgram
    from invseg_jax.training.run_folder import DataDescription, RunFolder

    check_config(config)
    window = parse_window(profile, config.steps)
    mesh.prepare_devices(config.devices, config.data.batch)

    # The data, and the folder of the run.
    dataset = open_source(config, root, command.say)
    regions = regions_to_segment(config, dataset)
    outputs = len(regions or dataset.classes)
    # All settings are checked first: reading the data may take long. Only the data show which axis
    # is left-right, so a flip that is left open is settled once more when they have been read.
    asked, modalities = config, len(dataset.modalities)
    check_mirror(asked)
    config = with_flips(asked, choose_flips(asked, dataset.classes, regions))
    devices = mesh.make_mesh(config.devices, config.data.batch)
    model = build_model(config, modalities, outputs)
    program = TrainingProgram.build(config, model, modalities, devices, regions)
    Preprocessing.of(config).schemes(modalities)
    stream: dict[str, Any] = {
        "patch": tuple(config.data.patch),
        "batch": patches_a_step(config),
        "foreground": config.data.foreground,
        "seed": config.seed,
        "threads": config.data.threads,
        "process": jax.process_index(),
        "processes": jax.process_count(),
    }
    check_stream(**stream)
    check_slices(config.data.annotated_slices)
    tell_split(config, dataset, command.say)
    refuse_faults(config, dataset, chosen_cases(config, dataset), command.say)
    training, held_out, fingerprint = prepared_split(config, dataset, command.say)
    flips = choose_flips(asked, dataset.classes, regions, fingerprint)
    if flips.note:
        command.say(flips.note)
    if flips.probabilities != program.flip:
        config = with_flips(asked, flips)
        program = TrainingProgram.build(config, model, modalities, devices, regions)
    check_mirror(config)
    batches = training_batches(training, margin=margin(model), **stream)
    run = RunFolder(workdir)
    described = DataDescription.of(config, dataset, root, training, held_out, run.known_by())

    # The network, and its state on the devices.
    network = as_network(config, model, outputs, devices, regions)
    state = program.first_state(network.params)
    take_step: Any = None
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    command.say(
        f"{config.model.name}: {count:,} parameters, {len(training)} training and "
        f"{len(held_out)} held-out cases, batch {patches_a_step(config)} on "
        f"{devices.size} {devices.devices.flat[0].platform} device(s)"
    )
    with (
        run.training(config, described, fingerprint, lock=jax.process_index() == 0),
        Checkpoints(run.checkpoints, keep=config.keep, say=command.say) as checkpoints,
        StopRequest() as stop,
    ):
        first = 0
        if resumed := checkpoints.restore_newest(state, batches):
            first, state = resumed
            command.say(f"resumed from step {first} of {config.steps}")
        metrics: dict[str, Any] = {}
        stopping = False
        with (
            TrainingLog(run, first=first, steps=config.steps) as log,
            Profile(window, run.path / "profile", log.say, first) as profiling,
        ):
            for step in range(first, config.steps + 1):
                # Before the next batch is drawn, so that what is saved belongs together.
                last = step == config.steps
                stopping = stop.asked  # looked at once: what comes later is for the next step
                saving = last or stopping or step % config.save_every == 0
                due = last or step % config.eval_every == 0
                if step > first and (saving or due):
                    refuse_divergence(metrics, step, checkpoints.latest(), config, state)
                if step > first and saving:
                    checkpoints.save(step, state, batches)
                # A stop may have come between the last save and the validation due after it.
                missed = step == first > 0 and not log.validated(step)
                if (step > first or missed) and due and not stopping:
                    if held_out:
                        averaged = network.with_params(state.averaged)
                        some = held_out[: config.eval_cases or None]
                        dice = mean_dice(averaged, some, dataset.classes)
                        log.validation(step, dice, mean_reconstruction(averaged, some))
                    log.draw(run.path / "progress.png")
                    log.restart_clock(step)
                if last or stopping:
                    break

                with profiling.step(step):
                    begun = time.perf_counter()
                    with profiling.phase("wait for data"):
                        batch = next(batches)
                    with profiling.phase("place on devices"):
                        batch = mesh.place_batch(batch, devices)
                    log.waited(time.perf_counter() - begun)
                    if step == first:
                        log.say("compiling the training step")
                        take_step = program.compile()
                        if warning := shortage(take_step, devices):
                            log.say(warning)
                        program.learning_rate(step)  # compiles a program too
                        log.restart_clock(step)
                    with profiling.phase("start step"):
                        state, metrics = take_step(state, batch)
                log.advance(step + 1)

                if step == first or (step + 1) % config.log_every == 0:
                    refuse_divergence(metrics, step + 1, checkpoints.latest(), config)
                    scalars = {name: float(value) for name, value in metrics.items()}
                    scalars["learning_rate"] = program.learning_rate(step)
                    log.training(step + 1, scalars)
            checkpoints.wait()
    if stopping:
        command.say(f"stopped by SIGTERM after step {step}; the same command goes on from there")
        raise SystemExit(StopRequest.EXIT_STATUS)
    split = "" if held_out else " --split train"
    command.say(
        f"done: {config.steps} steps; python -m invseg_jax.evaluate --workdir {workdir}{split}"
    )


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
