"""The one class of errors that a user can cause and mend, and the one class of warnings."""


class UserError(ValueError):
    """Says in one line what is wrong, where, and what to do about it.

    The command lines print the message alone and exit with `status`; `--debug` shows the traceback.
    """

    status = 2


class SomeFailed(UserError):
    """Says that some cases failed although the command went on with all others."""

    status = 1


class UserNotice(UserWarning):
    """Says in one line what a user should know although the work goes on.

    The command lines print the message alone, after "warning: ".
    """
