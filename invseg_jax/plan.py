"""Tells what one training step takes of a device's memory, before anything is trained.

    python -m invseg_jax.plan --config configs/brats.py --modalities 4 --classes 4
    python -m invseg_jax.plan --config configs/hippocampus.py --data ROOT --memory 8GiB
    python -m invseg_jax.plan --config configs/brats.py --platform tpu-v5e --json plan.json

Compiles the step that `train` runs, for shapes alone, and prints where its bytes go with each way
to get the gradient: plain, remat and reversible.

With --memory it searches the largest step that fits and prints the arguments to paste: the patch
first (at the smallest batch; up to the median training case of --data, or twice the configuration's
patch), then the batch (up to 8 a device, on a CPU 8 in all), then the channels (up to twice as
many), then the couplings (up to twice as many; almost free where the network is reversible).
--vary names which of the four may change; the others stay as they are in the configuration.

A compilation takes 10 seconds to a minute on a CPU, and up to some minutes for a TPU.
"""

from pathlib import Path

from absl import flags

from invseg_jax import command
from invseg_jax.errors import UserError
from invseg_jax.memory_plan.choice import AXES

FLAGS = command.new_flags()
command.define_config(FLAGS)
flags.DEFINE_string(
    "memory", None, "What must suffice for a step, as 16GiB, 16GB, 500MiB.", flag_values=FLAGS
)
flags.DEFINE_string(
    "platform",
    None,
    "cpu, gpu, tpu-v4, tpu-v5e, tpu-v5p or tpu-v6e; by default what this machine has. TPUs need "
    "not be there.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "topology", None, "Of a TPU slice in chips, as 2x2: the batch is spread.", flag_values=FLAGS
)
flags.DEFINE_integer("modalities", None, "Channels of an image.", flag_values=FLAGS)
flags.DEFINE_integer(
    "classes",
    None,
    "With the background; or regions, where the configuration segments those.",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "data", None, "Root of a data set: its modalities, classes, case sizes.", flag_values=FLAGS
)
flags.DEFINE_list(
    "vary",
    None,
    "What --memory may change, of patch, batch, width, depth; by default all of them.",
    flag_values=FLAGS,
)
flags.DEFINE_string("json", None, "File for the same figures, in bytes.", flag_values=FLAGS)
command.define_compilation_cache(FLAGS)


def main(values: flags.FlagValues) -> None:
    """Runs the command line's plan."""
    experiment = command.read_config(values)
    if experiment.task != "segmentation":
        raise UserError(
            f"plan measures the task segmentation, not {experiment.task}; for the latter see "
            "python -m invseg_jax.benchmark clips"
        )
    from invseg_jax.files.byte_size import parse_size
    from invseg_jax.memory_plan.plan import plan, read_images

    budget = None if values.memory is None else parse_size(values.memory)
    command.enable_compilation_cache(values)
    images = read_images(experiment, values.data, values.modalities, values.classes, command.say)
    plan(
        experiment,
        images,
        budget=budget,
        platform=values.platform,
        topology=values.topology,
        vary=values.vary or AXES,
        output=None if values.json is None else Path(values.json),
        say=command.say,
    )


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
