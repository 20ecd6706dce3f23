"""The one error class for what a user can cause and can mend."""


class UserError(Exception):
    """Says in one line what is wrong, where, and what to do about it.

    The command lines print the message alone and exit with status 2; `--debug` shows the traceback.
    """
