"""A small image, a method that is quick and can be held, and the page's server in a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx2
import nibabel as nib
import numpy as np
from starlette.testclient import TestClient

from invseg_jax.interactive.method import Carried, SliceVolume
from invseg_jax.interactive.page.cases import folder_cases, one_case
from invseg_jax.interactive.page.desk import Desk
from invseg_jax.interactive.page.guard import TOKEN
from invseg_jax.interactive.page.opening import Settings
from invseg_jax.interactive.page.server import application
from invseg_jax.interactive.prompts import Prompt

HOST = "127.0.0.1:8800"
KEY = "a-token"
SHAPE = (20, 9, 26)  # of the file; its slices lie along the second axis
BOX = {"kind": "box", "points": [[5, 6], [14, 18]], "positive": True}


def write_image(path: Path, seed: int = 0) -> Path:
    """A bright ball in noise; the slices lie along the second axis, and two axes are flipped."""
    at = np.indices(SHAPE) - np.array([10, 4, 12])[:, None, None, None]
    ball = (at**2 * np.array([1, 9, 1])[:, None, None, None]).sum(axis=0) < 49
    noise = np.random.default_rng(seed).normal(0, 5, SHAPE)
    affine = np.array([[-1.5, 0, 0, 9], [0, 0, 1.5, -7], [0, -4.0, 0, 3], [0, 0, 0, 1]])
    image = nib.Nifti1Image((100 * ball + noise).astype(np.float32), affine)
    nib.save(image, path)
    return path


class Held:
    """A method that fills the prompts' bounds; it waits, or fails, where it is told to."""

    name = "held"

    def __init__(self) -> None:
        self.segment_go = threading.Event()
        self.segment_go.set()
        self.fault: Exception | None = None
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self.carrying = threading.Event()

    def segment(
        self, volume: SliceVolume, index: int, prompts: Sequence[Prompt], mask: np.ndarray | None
    ) -> np.ndarray:
        self.begun.set()
        assert self.segment_go.wait(30)
        found = np.zeros(volume.shape, np.float32) if mask is None else np.array(mask)
        for prompt in prompts:
            (r0, c0), (r1, c1) = prompt.bounds
            value = 0.9 if prompt.positive else 0.1
            found[int(r0) : int(r1) + 1, int(c0) : int(c1) + 1] = value
        return found

    def carry(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        slices: Sequence[int],
        probabilities: np.ndarray,
    ) -> Iterator[Carried]:
        if self.fault is not None:
            raise self.fault
        for index in slices:
            self.carrying.set()
            assert self.go.wait(30)
            nearest = min(confirmed, key=lambda one: (abs(one - index), one))
            quality = 1 - abs(nearest - index) / 10
            yield Carried(index, confirmed[nearest].astype(np.float32) * 0.8, quality)

    def suggest(
        self,
        volume: SliceVolume,
        confirmed: Mapping[int, np.ndarray],
        probabilities: np.ndarray,
        quality: np.ndarray,
    ) -> int | None:
        known = np.where(np.isfinite(quality), quality, 2)
        known[list(confirmed)] = 2
        return int(known.argmin()) if known.min() < 2 else None


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The voxels of a NIfTI file, and its affine."""
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    return np.asarray(image.dataobj), np.asarray(image.affine)


class Page:
    """The server, called as the page calls it."""

    def __init__(
        self,
        image: Path,
        names: tuple[str, ...] = ("object",),
        method: Held | None = None,
        anew: bool = False,
    ) -> None:
        cases = folder_cases(image) if image.is_dir() else one_case(image)
        self.method = Held() if method is None else method
        self.said: list[str] = []
        settings = Settings(self.method, None, names, anew)
        self.desk = Desk(cases, settings, self.said.append)
        viewer = image.parent / "viewer.js"
        viewer.write_text("// NiiVue")
        app = application(self.desk, viewer, frozenset({HOST}), KEY)
        self.client = TestClient(app, base_url=f"http://{HOST}", headers={TOKEN: KEY})

    def state(self) -> dict:
        return self.client.get("/api/state").raise_for_status().json()

    def post(self, action: str, **values: object) -> httpx2.Response:
        body = {"do": action, "epoch": self.desk.board.epoch, **values}
        return self.client.post("/api/do", json=body)

    def do(self, action: str, **values: object) -> dict:
        answer = self.post(action, **values)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def rest(self) -> dict:
        """The board once nothing is being done."""
        for _ in range(3000):
            if (state := self.state())["job"] is None:
                return state
            threading.Event().wait(0.01)
        raise TimeoutError(state["job"])
