"""Scores a trained network on cases that it was not trained on.

    python -m invseg_jax.evaluate --workdir RUN
    python -m invseg_jax.evaluate --workdir RUN --data OTHER_ROOT
    python -m invseg_jax.evaluate --workdir RUN --split train
    python -m invseg_jax.evaluate --workdir RUN --mirror 0

Of a case that was trained on with `config.data.annotated_slices`, what lies outside of these slices
is scored: what the network has filled in (the semi-automated use of Çiçek et al. 2016).

--mirror takes axes along which the run was trained with mirror images (config.augment.flip in its
config.json), and no others. With --data, cases may be unlike the training images in spacing, field
of view, intensities or orientation: they are scored, and one line for each says what differs.

RUN/eval (or --output) receives summary.json, cases.csv, report.html, and for each case the label
map ID.nii.gz on the image's own grid and the picture ID.png.

Of a run of interactive segmentation, a simulated hand plays six rounds a case instead, with extreme
points, boxes and scribbles: RUN/eval receives summary.json, rounds.csv, the curve rounds.png, and
quality.png, how well the run judges its own slices.
"""

from pathlib import Path

from absl import flags

from invseg_jax import command

SPLITS = ("val", "train", "all")

FLAGS = command.new_flags()
flags.DEFINE_string("workdir", None, "Folder of the trained run.", flag_values=FLAGS)
flags.DEFINE_string(
    "data", None, "Root of the data set; by default that of the training.", flag_values=FLAGS
)
flags.DEFINE_enum(
    "split",
    "val",
    SPLITS,
    "val: labelled cases that are not among those trained on, told apart by content (in the data "
    "of the training, of config.data.cases, without what config.data.split leaves out and without "
    "other scans of patients, by config.data.group, that were trained on); train: those trained "
    "on; all: both.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "output", None, "Folder of the results; by default RUN/eval.", flag_values=FLAGS
)
command.define_mirror(FLAGS)
command.define_max_bytes(FLAGS)
command.define_compilation_cache(FLAGS)
flags.mark_flag_as_required("workdir", flag_values=FLAGS)


def main(values: flags.FlagValues) -> None:
    """Runs the command line's evaluation."""
    workdir = Path(values.workdir)
    output = Path(values.output) if values.output else None
    mirror = command.read_mirror(values)
    max_bytes = command.read_max_bytes(values)
    command.enable_compilation_cache(values)
    command.prepare_devices([workdir])
    from invseg_jax.interactive.tasks import evaluate_run

    evaluate_run(
        workdir,
        output,
        root=values.data,
        split=values.split,
        mirror=mirror,
        max_bytes=max_bytes,
        say=command.say,
    )


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
