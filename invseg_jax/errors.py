"""The one class of errors that a user can cause and mend, and the one class of warnings."""

import contextlib
import re
from collections.abc import Iterator

# "--workdir", "--config.data.patch" and "config.data.patch"; not the file config.json.
_FLAG = re.compile(r"(?<![\w-])--(?:config\.)?(?=[a-z])|\bconfig\.(?!json\b|py\b)(?=[a-z])")
_COMMAND = "python -m "


class UserError(ValueError):
    """Says in one line what is wrong, where, and what to do about it.

    The command lines print the message alone and exit with `status`; `--debug` shows the traceback.
    The message names flags, as "--workdir" and "config.data.patch". Functions of the package's face
    give it with the names of their arguments, see `arguments_named`.
    """

    status = 2


class SomeFailed(UserError):
    """Says that some cases failed although the command went on with all others."""

    status = 1


class UserNotice(UserWarning):
    """Says in one line what a user should know although the work goes on.

    The command lines print the message alone, after "warning: ".
    """


@contextlib.contextmanager
def arguments_named() -> Iterator[None]:
    """Raises errors of the user again with the names of arguments in the place of flags.

    "give another --workdir" becomes "give another workdir", and "config.data.patch is ..."
    "data.patch is ...". A command that the message tells to run keeps its flags.
    """
    try:
        yield
    except UserError as error:
        said, command, rest = str(error).partition(_COMMAND)
        error.args = (_FLAG.sub("", said) + command + rest,)
        raise
