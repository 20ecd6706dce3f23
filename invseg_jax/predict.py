"""Segments images with one trained network, or the mean of several.

    python -m invseg_jax.predict --workdir RUN --input scan.nii.gz --output DIR
    python -m invseg_jax.predict --workdir RUN1 --workdir RUN2 --input FOLDER --output DIR
    python -m invseg_jax.predict --workdir RUN --input FOLDER --output DIR --mirror 0

The input is an image file, a folder of them, or a data set in the layout of the training. DIR
receives for each case the label map ID.nii.gz, on the image's own grid and with the label values of
the training data, and the picture ID.png.

--mirror takes axes along which all of the runs were trained with mirror images (config.augment.flip
in their config.json), and no others. Cases may be unlike the training images in spacing, field of
view, intensities or orientation: they are segmented, and one line for each says what differs. One
line also says what is odd about a header, such as sform and qform that disagree.

A case that cannot be segmented is left out with a line that says why, and the others go on. The
exit status is then 1; it is 2 where the command cannot be run at all.
"""

from pathlib import Path

from absl import flags

from invseg_jax import command

FLAGS = command.new_flags()
flags.DEFINE_multi_string(
    "workdir", None, "Folder of a trained run; give several to average them.", flag_values=FLAGS
)
flags.DEFINE_string("input", None, "Image, folder of images, or data set.", flag_values=FLAGS)
flags.DEFINE_string("output", None, "Folder of the label maps.", flag_values=FLAGS)
command.define_mirror(FLAGS)
command.define_max_bytes(FLAGS)
command.define_compilation_cache(FLAGS)
flags.mark_flags_as_required(("workdir", "input", "output"), flag_values=FLAGS)


def main(values: flags.FlagValues) -> None:
    """Runs the command line's prediction."""
    mirror = command.read_mirror(values)
    max_bytes = command.read_max_bytes(values)
    command.enable_compilation_cache(values)
    workdirs = [Path(workdir) for workdir in values.workdir]
    command.prepare_devices(workdirs)
    source, output = Path(values.input), Path(values.output)
    from invseg_jax.evaluation.prediction import predict

    predict(workdirs, source, output, mirror=mirror, max_bytes=max_bytes, say=command.say)


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
