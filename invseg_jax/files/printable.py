"""Text from outside, such as file names and class names, made safe for a terminal.

A name may hold any byte. Control characters would colour the terminal, overwrite a line or start a
new one; marks of direction would turn a line around; and a byte that is no UTF-8, which Python
keeps as a lone surrogate, would end the program when it is printed.
"""

import contextlib
import sys
from typing import TextIO


def printable(text: object) -> str:
    r"""The text in one line, in which what cannot be shown is escaped: `\x1b`, `\r`, `\udcff`.

    Letters of all scripts and spaces stay. JSON files and the names of files on disk do not need
    this: they keep a name as it is.

    Args:
        text: any object; `str` is taken of it.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def escape_unencodable(*streams: TextIO) -> None:
    """Lets streams print every text: characters that their encoding lacks are escaped.

    For command lines alone, as it changes the streams of the process.

    Args:
        *streams: by default the process's output and error streams.
    """
    for stream in streams or (sys.stdout, sys.stderr):
        # A stand-in for a stream, as in a notebook, may lack `reconfigure`.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
