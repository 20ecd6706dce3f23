"""Names of files on disk, which may be spelt in another way than in a list or a pattern.

One name has several spellings. An é is one letter or, as macOS may store it, an e and an accent
(NFC and NFD of the Unicode standard); an ending may be in capital letters, as .NII.GZ.
"""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

ENDINGS = (".nii.gz", ".nii", ".hdr", ".img")
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def composed(name: str) -> str:
    """A name with composed letters (NFC): the spelling in which ids are given and compared."""
    return unicodedata.normalize("NFC", name)


def ending_of(name: str, endings: Sequence[str] = ENDINGS) -> str:
    """The ending of a volume's name as the name spells it; "" where it ends otherwise."""
    found = next((end for end in endings if name.lower().endswith(end)), "")
    return name[len(name) - len(found) :]


def spelling(name: str) -> str:
    """A form that all spellings of one name share: composed letters, a small ending."""
    end = ending_of(name)
    return composed(name.removesuffix(end)) + end.lower()


def without_ending(name: str) -> str:
    """The id that the name of a volume's file stands for."""
    return composed(name.removesuffix(ending_of(name)))


class Folders:
    """Lists each folder once. A link that leads nowhere has a name like any other file."""

    def __init__(self) -> None:
        """Nothing is listed yet."""
        self._listed: dict[Path, list[str]] = {}
        self._spelt: dict[Path, dict[str, list[str]]] = {}

    def names(self, folder: Path) -> list[str]:
        """The names in a folder in order, without hidden ones; none where there is no folder.

        Raises:
            OSError: the folder cannot be read.
        """
        return [name for name in self.all_names(folder) if not name.startswith(".")]

    def all_names(self, folder: Path) -> list[str]:
        """As `names`, with those that start with a dot."""
        if folder not in self._listed:
            try:
                self._listed[folder] = sorted(os.listdir(folder))
            except OSError as error:
                if error.errno not in _NO_FOLDER:
                    raise
                self._listed[folder] = []
        return self._listed[folder]

    def alike(self, folder: Path, name: str) -> list[Path]:
        """The files of a folder with this name, in whichever spelling.

        Raises:
            OSError: the folder cannot be read.
        """
        if folder not in self._spelt:
            by_spelling: dict[str, list[str]] = {}
            for found in self.all_names(folder):
                by_spelling.setdefault(spelling(found), []).append(found)
            self._spelt[folder] = by_spelling
        return [folder / found for found in self._spelt[folder].get(spelling(name), ())]

    def find(self, root: Path, inner: str) -> Path:
        """The path on disk of a path that was written down.

        Args:
            root: folder from which the path starts.
            inner: the path, in any spelling.

        Returns:
            The path as it is spelt on disk; as it was written where there is no such file.

        Raises:
            OSError: a folder cannot be read.
        """
        path = root
        for part in Path(inner).parts:
            if not os.path.lexists(path / part):
                alike = self.alike(path, part)
                if not alike:
                    return root / inner
                part = alike[0].name
            path /= part
        return path
