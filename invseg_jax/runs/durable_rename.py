"""A checkpoint gets its name only when all its files are on the disk.

Otherwise a power cut may keep the new name and lose the content of the files: the newest checkpoint
would have empty files, and the one before would be deleted already.
"""

import asyncio
import os
import time
from pathlib import Path

from orbax.checkpoint.path import atomicity

from invseg_jax.files.atomic_file import sync_folder

_METADATA = "_CHECKPOINT_METADATA"


class DurableRename(atomicity.AtomicRenameTemporaryPath):
    """Orbax's temporary folder of a step, which is flushed to the disk before it is renamed.

    Orbax deletes the oldest checkpoint after this is done.
    """

    async def finalize(self) -> None:
        """Flushes every file and folder, renames, and flushes the folder above.

        Raises:
            OSError: the disk is full or broken; the temporary folder keeps its name.
        """
        temporary, final = Path(self.get()), Path(self.get_final())
        if atomicity.TMP_DIR_SUFFIX in final.parent.name:
            # A part of the step, which is flushed with the step.
            return await super().finalize()
        await asyncio.to_thread(self._complete, temporary, final)
        await asyncio.to_thread(flush_tree, temporary)
        await asyncio.to_thread(os.rename, temporary, final)
        await asyncio.to_thread(sync_folder, final.parent)

    def _complete(self, temporary: Path, final: Path) -> None:
        """Writes what Orbax's own class writes last."""
        if store := self._checkpoint_metadata_store:
            store.wait_until_finished()
            store.update(file_path=self.get() / _METADATA, commit_timestamp_nsecs=time.time_ns())
            store.wait_until_finished()
        (temporary / atomicity.COMMIT_SUCCESS_FILE).write_text(
            f"Checkpoint commit was successful to {final}"
        )


def flush_tree(folder: Path) -> None:
    """Waits until a folder, and every file and folder in it, is on the disk.

    Raises:
        OSError: something could not be written.
    """
    for inside, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(Path(inside) / name, "rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(inside))
