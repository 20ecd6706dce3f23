"""Main memory that a process has freed and the system has not got back."""

import contextlib
import ctypes
import gc


def give_back() -> None:
    """Returns unused pages to the system; does nothing where the C library cannot.

    Compiling a program, or reading one from the compilation cache, frees hundreds of MiB in small
    pieces, which the C library keeps. The arrays of a training step are too large to be made of
    them, so that they would come on top.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
