"""A session: a person segments a volume with prompts on slices.

    import invseg_jax as iv
    from invseg_jax.interactive.prompts import Box

    session = iv.Session("scan.nii.gz")
    session.prompt(Box(((40, 52), (91, 120))), index=17)
    session.suggest()                     # the slice to look at next
    session.save("tumour.nii.gz")

`iv.Session("scan.nii.gz", "RUN")` takes the networks of a trained run.

A slice that a person made, painted or confirmed is *confirmed*. A correction reaches the slices
between the next confirmed slices on both sides, or to the end of the volume. They are made anew; no
confirmed slice is ever changed by carrying.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from invseg_jax.errors import UserError
from invseg_jax.files.json_values import JsonObject
from invseg_jax.interactive.actions import Cancelled, Progress, checked_name, whole
from invseg_jax.interactive.history import Made
from invseg_jax.interactive.method import Method
from invseg_jax.interactive.prompts import Prompt
from invseg_jax.interactive.run_lengths import run_lengths
from invseg_jax.interactive.session_image import Image, SessionImage
from invseg_jax.interactive.session_log import read_log
from invseg_jax.interactive.session_memory import SessionMemory
from invseg_jax.interactive.slice_state import unpack

__all__ = ["Cancelled", "Session"]


class Session(SessionMemory):
    """An image, a method, and all that a person has drawn.

    Labels are counted from 1, as they stand in the label map. Slices are counted from 0. All
    arrays of a slice are (rows, columns), see `volume`; a label map lies on the file's own axes.

    Several threads may use one session: actions wait for each other, and a reader sees the state
    before or after an action, never one between.
    """

    def __init__(
        self,
        image: Image,
        method: Method | str | os.PathLike[str] | None = None,
        *,
        axis: int | None = None,
        labels: Sequence[str] = ("object",),
        say: Callable[[str], None] = print,
    ) -> None:
        """Opens an image.

        Args:
            image: a NIfTI or Analyze file, an image of nibabel, a `method.SliceVolume`, or a
                `SessionImage`, which several sessions can share.
            method: makes masks from prompts: the folder of an interactive run, or a `Method`; None:
                `Classical()`, which needs no network.
            axis: of the file, which counts the slices; None: the one with the largest spacing, the
                last of several.
            labels: the names of the objects.
            say: told what a user should know of the image's header, one line at a time.

        Raises:
            UserError: the image cannot be read or has no such axis, a name of a label is wrong, or
                scikit-image is missing, which `Classical` needs.
        """
        names: tuple[str, ...] = ()
        for name in (labels,) if isinstance(labels, str) else labels:
            names = (*names, checked_name(name, names))
        if not names:
            raise UserError("a session needs at least one label; give labels")
        opened = SessionImage.open(image, axis)
        super().__init__(opened, _opened(method), names)
        for note in opened.notes:
            say(note)

    def prompt(
        self,
        prompt: Prompt,
        index: int,
        label: int = 1,
        *,
        carry: bool = True,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Segments a slice with all its prompts and one more, and carries it into others.

        The slice becomes confirmed. The method is given the slice's probabilities of before.

        Args:
            prompt: drawn on the slice.
            index: of the slice.
            label: of the object.
            carry: whether other slices are made anew too; else `carry` does it later, which lets a
                page show the slice at once.
            progress: told after each slice how many of how many are done.
            cancelled: asked before each slice whether to stop.

        Raises:
            UserError: there is no such slice or label, or the prompt lies outside of the slice.
            Cancelled: `cancelled` said so; the session is as before.
        """
        action = {"action": "prompt", "label": whole(label), "index": whole(index)}
        action |= {"prompt": prompt.to_json(), "carry": carry}
        self._do(action, progress=progress, cancelled=cancelled)

    def carry(
        self,
        label: int = 1,
        *,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Makes anew what earlier actions left to carry, see `stale`.

        It is no action of its own: undo takes it back together with the action before.

        Args:
            label: of the object.
            progress: told after each slice how many of how many are done.
            cancelled: asked before each slice whether to stop.

        Raises:
            Cancelled: `cancelled` said so; the session is as before.
        """
        if self.stale(label):
            action = {"action": "carry", "label": whole(label)}
            self._do(action, progress=progress, cancelled=cancelled)

    def confirm(self, index: int, label: int = 1) -> None:
        """Says that a slice is right as it is.

        Raises:
            UserError: there is no such slice or label.
        """
        self._do({"action": "confirm", "label": whole(label), "index": whole(index)})

    def paint(self, mask: np.ndarray, index: int, label: int = 1) -> None:
        """Sets a slice by hand; it becomes confirmed, and its prompts are forgotten.

        The mask says more than the prompts that led to it. A later prompt builds on the mask.

        Args:
            mask: bool (rows, columns), the whole slice.
            index: of the slice.
            label: of the object.

        Raises:
            UserError: there is no such slice or label, or the mask has another shape.
        """
        mask = np.asarray(mask)
        if mask.shape != self.volume.shape:
            raise UserError(f"the mask is {mask.shape}, and a slice {self.volume.shape}")
        action = {"action": "paint", "label": whole(label), "index": whole(index)}
        self._do({**action, "mask": run_lengths(mask.astype(bool))})

    def clear(self, label: int | None = None) -> None:
        """Empties an object, its prompts too; None: all objects."""
        self._do({"action": "clear", "label": None if label is None else whole(label)})

    def add_label(self, name: str) -> int:
        """Adds an object.

        Returns:
            Its label.

        Raises:
            UserError: the name is taken or is none.
        """
        with self._lock:
            self._do({"action": "add_label", "name": name})
            return len(self.labels)

    def import_labels(self, labels: str | Path | np.ndarray) -> None:
        """Sets all objects from a label map; what was there before is forgotten.

        The slices that hold an object become confirmed for it: carrying does not change what was
        imported. The other slices become empty, and are not confirmed.

        Args:
            labels: a NIfTI file with the image's voxels, or integers on the file's own axes.

        Raises:
            UserError: it has other voxels, or a label that the session does not have.
        """
        slices = self._image.read_labels(labels)
        if (highest := int(slices.max())) > len(self.labels):
            raise UserError(
                f"the label map holds {highest}, and the session has {len(self.labels)} labels; "
                "add labels first"
            )
        masks = [
            [int(label), index, run_lengths(one == label)]
            for index, one in enumerate(slices)
            for label in np.unique(one[one > 0])
        ]
        self._do({"action": "import", "masks": masks})

    def save(self, path: str | Path) -> None:
        """Writes the label map on the image's own grid.

        A reader sees the file that was there before or the whole new one.

        Args:
            path: ends in .nii.gz; its folder is made if it is missing.

        Raises:
            UserError: the file cannot be written; an older one is left as it was.
        """
        self._image.write_labels(path, self._label_slices())

    @classmethod
    def resume(
        cls,
        path: str | Path,
        image: Image,
        method: Method | None = None,
        *,
        say: Callable[[str], None] = print,
    ) -> Session:
        """The session of a log, with what the method made then: fast, and the same bits anywhere.

        Undo and redo go on where they were. `autosave` with the same path goes on with the log.

        Args:
            path: of the log.
            image: the one that the log belongs to.
            method: for what comes next.
            say: told where a last line was dropped, or the method is another.

        Raises:
            UserError: the log is damaged, or belongs to another image.
        """
        return cls._of_log(path, image, method, say, anew=False)

    @classmethod
    def replay(
        cls,
        path: str | Path,
        image: Image,
        method: Method | None = None,
        *,
        say: Callable[[str], None] = print,
    ) -> Session:
        """Does all that a log says anew, from the prompts alone.

        With the same method, versions and kind of machine the label map is the same, bit for bit.

        Args:
            path: of the log.
            image: the one that the log belongs to.
            method: need not be the one of the log.
            say: told where a last line was dropped, or the method is another.

        Raises:
            UserError: the log is damaged, or belongs to another image.
        """
        return cls._of_log(path, image, method, say, anew=True)

    @classmethod
    def _of_log(
        cls,
        path: str | Path,
        image: Image,
        method: Method | None,
        say: Callable[[str], None],
        *,
        anew: bool,
    ) -> Session:
        log = read_log(path)
        opened = SessionImage.open(image, log.header.axis)
        session = cls(opened, method, labels=log.header.labels, say=say)
        if log.header.image != opened.digest:
            raise UserError(f"{path}: is the log of another image; give the image it was made with")
        if log.header.method != session.method:
            say(f"{path}: was made with {log.header.method!r}, not with {session.method!r}")
        for number, (action, made) in enumerate(log.actions, 2):
            try:
                session._read(action, None if anew else made)
            except UserError as error:
                raise UserError(f"{path}: line {number}: {error}") from error
        try:
            for one in session._state.slices.values():
                unpack(one.values, session.volume.shape)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        if log.torn:
            say(f"{path}: the last line is not whole and was dropped: one action is lost")
        if not anew:
            session._own_log = Path(os.path.abspath(path))
        return session

    def _read(self, action: JsonObject, made: Mapping[int, Made] | None) -> None:
        """Does an action of a log."""
        name = action.get("action")
        if name == "undo" and not self.undo() or name == "redo" and not self.redo():
            raise UserError(f"there is nothing to {name}")
        if name not in ("undo", "redo"):
            self._do(action, made)


def _opened(method: Method | str | os.PathLike[str] | None) -> Method:
    """The networks of a run, the method as it was given, or the classical one."""
    if method is None:
        return _without_network()
    if isinstance(method, str | os.PathLike):
        from invseg_jax.interactive.trained import load_method

        return load_method(Path(method))
    return method


def _without_network() -> Method:
    """The classical method, which needs an extra of the package."""
    try:
        from invseg_jax.interactive.classical import Classical
    except ImportError as error:
        raise UserError(
            "to segment without a network, scikit-image is needed: pip install "
            '"invseg_jax[annotate]"'
        ) from error
    return Classical()
