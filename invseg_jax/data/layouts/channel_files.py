"""A folder of images named as in nnU-Net, a file for each channel: CASE_0000.nii.gz and so on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from invseg_jax.data.layouts.case import Case, cases_of_id
from invseg_jax.data.layouts.names import Folders, ending_of, without_ending


class ChannelFiles:
    """The images of a folder, by the id of their case and the number of their channel.

    Attributes:
        ids: of the cases that have an image there.
        strangers: names of files that have the ending and are not named as a channel.
    """

    def __init__(self, folder: Path, channels: int, ending: str, folders: Folders):
        """Lists a folder.

        Args:
            folder: need not be there.
            channels: how many a case has.
            ending: of the images.
            folders: keeps what was listed before.

        Raises:
            OSError: the folder cannot be read.
        """
        self._folder, self._channels, self._ending = folder, channels, ending
        self.strangers: list[str] = []
        # Several files may have one name in different spellings.
        self._files: dict[str, dict[int, list[Path]]] = {}
        for name in names_ending(folder, ending, folders):
            match = re.fullmatch(r"(.+)_([0-9]{4})", without_ending(name), re.DOTALL)
            if match and int(match[2]) < channels:
                of_case = self._files.setdefault(match[1], {})
                of_case.setdefault(int(match[2]), []).append(folder / name)
            else:
                self.strangers.append(name)
        self.ids = tuple(self._files)

    def cases(
        self, id: str, labels: Sequence[Path | None], split: Literal["training", "test"]
    ) -> list[Case]:
        """The case of an id; a channel that is not there has the path where it would be.

        Args:
            id: of the case.
            labels: as of `cases_of_id`.
            split: of the case.

        Returns:
            One case, or several where several files have one name.
        """
        found = self._files.get(id, {})
        images = [
            found.get(c, [self._folder / f"{id}_{c:04}{self._ending}"])
            for c in range(self._channels)
        ]
        return cases_of_id(id, images, labels, split)


def names_ending(folder: Path, ending: str, folders: Folders) -> list[str]:
    """Names in a folder with an ending, in whichever letter case; hidden ones are left out."""
    return [name for name in folders.names(folder) if ending_of(name, (ending.lower(),))]
