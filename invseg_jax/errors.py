"""The one class of errors that a user can cause and mend, and the one class of warnings."""


class UserError(Exception):
    """Says in one line what is wrong, where, and what to do about it.

    The command lines print the message alone and exit with status 2; `--debug` shows the traceback.
    """


class UserNotice(UserWarning):
    """Says in one line what a user should know although the work goes on.

    The command lines print the message alone, after "warning: ".
    """
