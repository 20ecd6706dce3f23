"""What the command lines share: flags of their own, one-line errors, `--help`, `--debug`."""

import contextlib
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from absl import flags

from invseg_jax.errors import UserError, UserNotice
from invseg_jax.files.printable import escape_unencodable, printable

if TYPE_CHECKING:
    from invseg_jax.experiment import Experiment

USER_ERROR = 2
# The flag that --config.KEY=VALUE is turned into.
_CHANGE = "config_change"


def say(text: str) -> None:
    """Prints one line at once, also into a file or a pipe; what is not printable is escaped."""
    print(printable(text), flush=True)


def new_flags() -> flags.FlagValues:
    """Flags of one command alone, so that `--help` lists no library's."""
    values = flags.FlagValues()
    flags.DEFINE_bool("debug", False, "Show the traceback of an error.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
    return values


def define_config(values: flags.FlagValues, *, required: bool = True) -> None:
    """Defines --config, and with it --config.KEY=VALUE."""
    flags.DEFINE_string(
        "config",
        None,
        "The configuration: FILE.py or FILE.py:VARIANT, or one that comes with the package, as "
        "iseg:quick; --config.KEY=VALUE changes one value.",
        flag_values=values,
    )
    flags.DEFINE_multi_string(_CHANGE, [], "", flag_values=values)
    if required:
        flags.mark_flag_as_required("config", flag_values=values)


def read_config(values: flags.FlagValues) -> "Experiment":
    """The experiment that --config names, with what --config.KEY=VALUE changes.

    Raises:
        UserError: it cannot be loaded, there is no such key, or a value is wrong.
    """
    return load_config(values.config, values[_CHANGE].value or [])


def load_config(file: str, changes: Sequence[str]) -> "Experiment":
    """The experiment that a command would be given by --config and --config.KEY=VALUE.

    Args:
        file: FILE.py or FILE.py:VARIANT, or the name of one that comes with the package.
        changes: KEY=VALUE.

    Raises:
        UserError: it cannot be loaded, there is no such key, or a value is wrong.
    """
    from invseg_jax.experiment.read import read_with_texts

    pairs = (change.partition("=") for change in changes)
    return read_with_texts(file, {key: value for key, _, value in pairs})


def _joined(argv: Sequence[str]) -> list[str]:
    """The arguments with --config.KEY=VALUE, or --config.KEY VALUE, as values of one flag."""
    joined, rest = [], iter(argv)
    for argument in rest:
        start = next((s for s in ("--config.", "-config.") if argument.startswith(s)), None)
        if start is None:
            joined.append(argument)
            continue
        key, equals, value = argument.removeprefix(start).partition("=")
        if not equals:
            value = next(rest, None)
            if value is None:
                raise UserError(f"{argument} needs a value: {argument}=VALUE (see --help)")
        joined.append(f"--{_CHANGE}={key}={value}")
    return joined


def define_compilation_cache(values: flags.FlagValues) -> None:
    """Adds the flag of the commands that compile; see `devices/compilation_cache.py`."""
    flags.DEFINE_bool(
        "compilation_cache",
        True,
        "Keep compiled programs for the next start, in the user's cache folder or where the "
        "environment's JAX_COMPILATION_CACHE_DIR says; --nocompilation_cache compiles anew.",
        flag_values=values,
    )


def enable_compilation_cache(values: flags.FlagValues) -> None:
    """Does what the flag says; imports JAX, so only once the command is known to run."""
    from invseg_jax.devices import compilation_cache

    compilation_cache.enable(values.compilation_cache, say)


def prepare_devices(workdirs: Sequence[Path]) -> None:
    """Splits a CPU into virtual devices for the windows of runs, before JAX looks for devices.

    Args:
        workdirs: folders of runs; the first one counts. What is wrong with it is told later.
    """
    from invseg_jax.devices import mesh
    from invseg_jax.inference.trained_run import SegmentationRun

    with contextlib.suppress(UserError):
        mesh.prepare_devices(0, SegmentationRun(workdirs[0]).read_config().inference.batch)


def define_mirror(values: flags.FlagValues) -> None:
    """Adds the flag of the commands that segment; see `inference/mirroring.py`."""
    flags.DEFINE_string(
        "mirror",
        None,
        "Average over mirror images along these axes of the network's grid (0, 1, 2 for D, H, W), "
        "such as 0 or 0,1,2, or none; each axis doubles the time. Only axes along which training "
        "mirrored too (config.augment.flip of the run is not 0). By default as "
        "config.inference.mirror of the run says.",
        flag_values=values,
    )


def read_mirror(values: flags.FlagValues) -> tuple[bool, bool, bool] | None:
    """The axes that --mirror names; None where it is not given.

    Raises:
        UserError: it names another axis, or one twice.
    """
    if values.mirror is None:
        return None
    from invseg_jax.inference.mirroring import parse_mirror

    return parse_mirror(values.mirror)


def define_max_bytes(values: flags.FlagValues) -> None:
    """Adds the flag of the commands that read volumes; see `nifti.limit_volumes`."""
    flags.DEFINE_string(
        "max_bytes",
        None,
        "What one volume may take, as 8GiB; by default config.data.max_bytes, 4 GiB.",
        flag_values=values,
    )


def read_max_bytes(values: flags.FlagValues) -> int | None:
    """The size that --max_bytes gives; None where it is not given.

    Raises:
        UserError: it is no size.
    """
    if values.max_bytes is None:
        return None
    from invseg_jax.files.byte_size import parse_size

    return parse_size(values.max_bytes)


def run(
    main: Callable[[flags.FlagValues], None],
    values: flags.FlagValues,
    doc: str | None,
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Parses the arguments, runs a command and exits.

    Args:
        main: the command, called with the parsed flags.
        values: its flags, from `new_flags`.
        doc: the command file's docstring, shown by `--help`.
        argv: the arguments, by default the process's, the program's name first.

    What the user can mend (`UserError`, a wrong flag, a misspelt config key) ends with one line and
    status 2, and so does memory that runs out; `SomeFailed` ends with status 1, Ctrl-C with status
    130. Characters that a terminal, or the encoding of the output, cannot show are escaped.
    """
    argv = list(sys.argv if argv is None else argv)
    escape_unencodable()
    if {"--help", "-h", "-help"} & set(argv):
        print(_help(values, doc or ""))
        sys.exit(0)
    debug = "--debug" in argv
    try:
        _parse(values, argv)
        with warnings.catch_warnings():
            warnings.showwarning = _Shown(warnings.showwarning)
            main(values)
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(error.status)
    except MemoryError as error:
        if debug:
            raise
        reason = f" ({printable(error)})" if str(error) else ""
        print(
            f"error: memory ran out{reason}; take smaller images or a smaller patch, or a machine "
            "with more memory",
            file=sys.stderr,
        )
        sys.exit(USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except RuntimeError as error:
        # The device's memory may be found too small only when a program runs.
        if debug or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = printable(str(error).splitlines()[0])
        print(
            f"error: the device ran out of memory ({reason}); take a smaller batch or patch; "
            "python -m invseg_jax.plan --config CONFIG --memory SIZE finds one",
            file=sys.stderr,
        )
        sys.exit(USER_ERROR)
    sys.exit(0)


@dataclass(frozen=True)
class _Shown:
    """Stands in for `warnings.showwarning`: prints a `UserNotice` in one line, others as before."""

    before: Callable[..., None]

    def __call__(self, message: Warning | str, category: type[Warning], *where: Any) -> None:
        if issubclass(category, UserNotice):
            print(printable(f"warning: {message}"), file=sys.stderr)
        else:
            self.before(message, category, *where)


def _parse(values: flags.FlagValues, argv: Sequence[str]) -> None:
    try:
        rest = values(_joined(argv) if _CHANGE in values else list(argv))[1:]
    except flags.Error as error:
        raise UserError(f"{' '.join(str(error).split())} (see --help)") from error
    if rest:
        raise UserError(f"unexpected argument {rest[0]!r} (see --help)")


def _help(values: flags.FlagValues, doc: str) -> str:
    """The command's docstring, then its own flags; absl's own list is mostly about absl."""
    lines = [doc.strip(), "", "flags:"]
    for name in sorted(values, key=lambda name: (name in ("help", "debug"), name)):
        flag = values[name]
        if name != flag.name or name in ("flagfile", "undefok", _CHANGE):
            continue
        spelling = f"--{name}" if flag.boolean else f"--{name}={name.upper()}"
        unset = flag.default is None or flag.default is False
        default = "" if unset else f" [{flag.default}]"
        text = f"{flag.help}{default}"
        lines += [f"  {spelling}", textwrap.indent(textwrap.fill(text, 84), " " * 6)]
    return "\n".join(lines)
