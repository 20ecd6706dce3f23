"""Marks objects in a volume with a few strokes, on a page in the browser.

    python -m invseg_jax.annotate --image scan.nii.gz
    python -m invseg_jax.annotate --image scan.nii.gz --workdir RUN --label tumour.nii.gz
    python -m invseg_jax.annotate --image scan.nii.gz --names tumour,oedema
    python -m invseg_jax.annotate --data FOLDER

Draw on one slice: a box, a scribble, a click, a lasso or four extreme points. The slice is
segmented, and the result is carried to the other slices. The strip below the slices says how sure
it is of each, and which one to look at next. Correct that one, and repeat until all is right.

The label map is written on the image's own grid when you save, by default beside the image as
NAME_label.nii.gz. Every action is also kept at once in NAME_label.session.jsonl: after a crash, or
another day, the same command goes on where it stopped. A label map that is there already is where
a new session begins.

Without --workdir no network is needed. The page is served on this machine alone (127.0.0.1), under
an address with a token that nobody else knows; nothing is sent anywhere else.
"""

from pathlib import Path

from absl import flags

from invseg_jax import command
from invseg_jax.errors import UserError

FLAGS = command.new_flags()
flags.DEFINE_string("image", None, "The NIfTI image.", flag_values=FLAGS)
flags.DEFINE_string("data", None, "A folder of NIfTI images, one after another.", flag_values=FLAGS)
flags.DEFINE_string(
    "workdir", None, "Folder of a trained run; without it, no network is used.", flag_values=FLAGS
)
flags.DEFINE_string(
    "label", None, "The label map's file; by default NAME_label.nii.gz.", flag_values=FLAGS
)
flags.DEFINE_string(
    "names",
    "object",
    "Names of the labels, as tumour,oedema; more can be added on the page.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "axis",
    None,
    "Which axis of the file counts the slices: 0, 1 or 2; by default the one with the largest "
    "spacing.",
    lower_bound=0,
    upper_bound=2,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "port",
    0,
    "Port of 127.0.0.1; 0 takes a free one.",
    lower_bound=0,
    upper_bound=65535,
    flag_values=FLAGS,
)
flags.DEFINE_bool(
    "browser", True, "Open the page in the browser; --nobrowser does not.", flag_values=FLAGS
)
flags.DEFINE_bool(
    "anew", False, "Put the session of before aside, and begin a new one.", flag_values=FLAGS
)
command.define_max_bytes(FLAGS)
command.define_compilation_cache(FLAGS)

NEEDS = 'the page needs more packages; run python -m pip install "invseg_jax[annotate]"'


def main(values: flags.FlagValues) -> None:
    """Runs the command line's page."""
    if (values.image is None) == (values.data is None):
        raise UserError("give either --image FILE or --data FOLDER (see --help)")
    if values.data is not None and values.label is not None:
        raise UserError(
            "--label is for one --image; with --data each label map lies beside its image"
        )
    names = tuple(name.strip() for name in values.names.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise UserError(f"--names must be different names, as tumour,oedema, not {values.names!r}")
    max_bytes = command.read_max_bytes(values)
    try:
        from invseg_jax.interactive.page.serve import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("invseg_jax"):
            raise
        raise UserError(f"{error.name} is not installed; {NEEDS}") from error
    from invseg_jax.data.volumes import nifti
    from invseg_jax.interactive.page import cases
    from invseg_jax.interactive.page.opening import Settings

    if max_bytes is not None:
        nifti.limit_volumes(max_bytes)
    if values.data is None:
        found = cases.one_case(Path(values.image), Path(values.label) if values.label else None)
    else:
        found = cases.folder_cases(Path(values.data))
    method = None
    if values.workdir is not None:
        command.enable_compilation_cache(values)
        workdir = Path(values.workdir)
        command.prepare_devices([workdir])
        from invseg_jax.interactive.trained import load_method

        method = load_method(workdir)
    settings = Settings(method, values.axis, names, values.anew)
    serve(found, settings, port=values.port, browser=values.browser, say=command.say)


if __name__ == "__main__":
    command.run(main, FLAGS, __doc__)
