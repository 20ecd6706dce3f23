"""The page in a real browser: what a person does, from the first box to the saved file."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.interactive.page import viewer_file
from invseg_jax.interactive.session import Session
from tests.interactive.page import chromium
from tests.interactive.page.case import read, write_image
from tests.interactive.page.test_annotate import Server, environment, server

# Where two controls overlap, or one does not lie inside of the window.
LAYOUT = """(() => {
  const faults = [];
  const controls = [...document.querySelectorAll("button, input, select, canvas, #corner-top")]
    .filter((one) => one.checkVisibility() && one.offsetWidth);
  const boxes = controls.map((one) =>
    [one.id || one.textContent, one.getBoundingClientRect(), one]);
  for (const [name, box] of boxes) {
    const inside = box.left >= 0 && box.right <= innerWidth + 0.5 && box.top >= 0;
    if (!inside) faults.push(`${name} lies outside`);
  }
  boxes.forEach(([name, a, first], at) => {
    for (const [other, b, second] of boxes.slice(at + 1)) {
      if (first.tagName === "CANVAS" || first.contains(second)) continue;
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1 && down > 1 && second.tagName !== "CANVAS") faults.push(`${name} on ${other}`);
    }
  });
  if (document.documentElement.scrollWidth > innerWidth) faults.push("the page is too wide");
  return faults;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Chromium]:
    path = chromium.find()
    if path is None:
        pytest.skip("no Chromium on the PATH: install chromium to test the page in a browser")
    page = chromium.Chromium(path, tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


@contextmanager
def opened(
    browser: chromium.Chromium, tmp_path: Path, *arguments: str, viewer: Path | None = None
) -> Iterator[Server]:
    """A server whose page is shown; with NiiVue, which takes seconds without a graphics card."""
    browser.complaints.clear()
    (folder,) = Path(environment(tmp_path)["INVSEG_CACHE"]).iterdir()
    if viewer is not None:
        shutil.copy(viewer, folder / "niivue.umd.js")
    with server(tmp_path, *arguments) as one:
        browser.open(f"{one.root}/#token={one.token}")
        browser.wait("document.getElementById('slice')?.dataset.drawn")
        size = "(({width, height, clientWidth, clientHeight}) => width === clientWidth && "
        size += "height === clientHeight)(document.getElementById('slice'))"
        browser.wait(size)
        if viewer is not None:
            browser.wait("document.getElementById('context').dataset.drawn")
        yield one


@pytest.fixture
def niivue() -> Path | None:
    """The file of NiiVue, from the user's own cache; None where npm cannot fetch it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("INVSEG_CACHE")
        try:
            return viewer_file.viewer_file()
        except UserError:
            return None


def screen(browser: chromium.Chromium, row: float, column: float) -> tuple[float, float]:
    """Where a voxel of the shown slice is on the screen."""
    # Two frames later, so that the slice is drawn in the size that it has now.
    found = browser.run(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {"
        "const canvas = document.getElementById('slice'), box = canvas.getBoundingClientRect();"
        "done(`${canvas.dataset.matrix} ${box.left} ${box.top}`); })))"
    )
    a, b, c, d, e, f, left, top = map(float, str(found).split())
    x, y = column + 0.5, row + 0.5
    return left + a * x + c * y + e, top + b * x + d * y + f


def text(browser: chromium.Chromium, name: str) -> str:
    return str(browser.run(f"document.getElementById('{name}').textContent"))


def colour(browser: chromium.Chromium, row: float, column: float) -> np.ndarray:
    x, y = screen(browser, row, column)
    found = browser.run(
        "(() => { const canvas = document.getElementById('slice');"
        "const box = canvas.getBoundingClientRect();"
        f"return [...canvas.getContext('2d').getImageData({x} - box.left, {y} - box.top, 1, 1)"
        ".data].join(' '); })()"
    )
    return np.array(str(found).split(), int)


@pytest.mark.browser
def test_a_person_segments_corrects_undoes_redoes_and_saves(
    browser: chromium.Chromium, niivue: Path | None, tmp_path: Path
) -> None:
    image = write_image(tmp_path / "scan.nii.gz")
    browser.resize(800, 600)
    with opened(browser, tmp_path, "--image", str(image), viewer=niivue) as one:
        assert "Slice 5 / 9 · axial" in text(browser, "corner-top")
        assert browser.run("location.hash") == ""
        grey = colour(browser, 10, 12)
        assert grey[0] == grey[2]
        browser.key("b")
        browser.drag([screen(browser, r, c) for r, c in ((2, 4), (8, 9), (18, 20))])
        browser.wait("document.getElementById('corner-top').textContent.includes('confirmed')")
        one.rest()
        browser.wait("document.getElementById('work-bar').hidden")
        browser.wait("!document.getElementById('next').disabled")
        blue = colour(browser, 10, 12)
        assert blue[2] > blue[0] + 30
        # The suggested slice, corrected with a scribble.
        browser.key("n")
        suggested = one.state()["labels"][0]["suggested"] + 1
        browser.wait(f"document.getElementById('corner-top').textContent.includes('{suggested} /')")
        browser.key("s")
        browser.drag([screen(browser, 10, column) for column in (9, 11, 13, 15)])
        browser.wait("document.getElementById('corner-top').textContent.includes('confirmed')")
        one.rest()
        confirmed = one.state()["labels"][0]["confirmed"]
        assert confirmed == sorted([4, suggested - 1])
        # Undo and redo.
        browser.key("z", ctrl=True)
        browser.wait("!document.getElementById('corner-top').textContent.includes('confirmed')")
        assert one.state()["labels"][0]["confirmed"] == [4]
        browser.key("y", ctrl=True)
        browser.wait("document.getElementById('corner-top').textContent.includes('confirmed')")
        browser.key("s", ctrl=True)
        browser.wait("document.getElementById('saved').textContent.startsWith('saved')")
        prompts = one.state()["labels"][0]["prompts"]
        assert prompts["4"][0]["kind"] == "box"
        assert prompts[str(suggested - 1)][0]["kind"] == "scribble"
        one.process.kill()
        one.process.wait(30)
    saved, affine = read(tmp_path / "scan_label.nii.gz")
    # The engine alone, from the prompts of the log.
    session = Session.replay(tmp_path / "scan_label.session.jsonl", image)
    assert saved.any() and np.array_equal(saved, session.label_map())
    assert np.array_equal(affine, read(image)[1])
    # The browser finds that this test reads pixels; nothing else is wrong, the policy included.
    known = ("willReadFrequently", "NiiVue is not there")
    assert [one for one in browser.complaints if not any(part in one for part in known)] == []


@pytest.mark.browser
def test_every_tool_by_its_key_and_nothing_overlaps(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    image = write_image(tmp_path / "scan.nii.gz")
    browser.resize(800, 600)
    with opened(browser, tmp_path, "--image", str(image), "--names", "one,two") as one:
        kinds = []
        for key, points in (
            ("p", [(10, 12)]),
            ("l", [(5, 7), (5, 17), (15, 17), (15, 7)]),
            ("x", [(4, 12), (16, 12), (10, 6), (10, 18)]),
            ("d", [(10, 12), (11, 14)]),
        ):
            browser.key(key)
            shown = [screen(browser, row, column) for row, column in points]
            for drag in [[point] for point in shown] if key in "px" else [shown]:
                browser.drag(drag)
            browser.wait("!document.getElementById('undo').disabled")
            one.rest()
            prompts = one.state()["labels"][0]["prompts"].get("4", [])
            kinds.append([prompt["kind"] for prompt in prompts])
            browser.key("z", ctrl=True)
            browser.wait("document.getElementById('undo').disabled")
        assert kinds == [["click"], ["lasso"], ["extreme points"], []]
        browser.key("e")
        browser.wait(
            "document.querySelector('#labels [aria-current=true]').innerText.includes('two')"
        )
        browser.key("t")
        browser.wait("document.getElementById('sign-text').textContent === 'Negative'")
        browser.key("?")
        browser.wait("document.querySelector('dialog[open]')")
        browser.key("Escape")
        browser.run("document.querySelector('dialog').close()")
        for width in (1400, 1000, 800):
            browser.resize(width, 900)
            browser.run("new Promise((done) => setTimeout(done, 200))")
            assert browser.run(LAYOUT) == [], width
            if folder := os.environ.get("INVSEG_PICTURES"):
                browser.picture(Path(folder) / f"page-{width}.png")
        # A second tab, or a tab without the token, is told what to do.
        browser.run("sessionStorage.clear()")
        browser.open(f"{one.root}/?")
        browser.wait("document.getElementById('banner')?.hidden === false")
        assert re.search("open the address", text(browser, "banner"))


@pytest.mark.browser
def test_the_next_image_saves_this_one_and_quick_clicks_are_all_kept(
    browser: chromium.Chromium, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a", "b"):
        write_image(folder / f"{name}.nii.gz", seed=ord(name))
    browser.resize(800, 600)
    with opened(browser, tmp_path, "--data", str(folder)) as one:
        browser.key("p")
        for column in (10, 12, 14):  # faster than they are answered
            browser.drag([screen(browser, 10, column)])
        browser.wait("document.getElementById('undo').disabled === false")
        end = time.monotonic() + 30
        while len(one.rest()["labels"][0]["prompts"].get("4", [])) < 3:
            assert time.monotonic() < end, str(one.state())
            time.sleep(0.05)
        browser.run("document.getElementById('next-case').click()")
        browser.wait("document.getElementById('case-name').textContent === 'b'")
        browser.wait("document.getElementById('undo').disabled")
        assert (folder / "a_label.nii.gz").is_file()
        browser.run("document.getElementById('previous-case').click()")
        browser.wait("document.getElementById('case-name').textContent === 'a'")
        browser.wait("document.getElementById('saved').textContent.startsWith('saved')")
        browser.wait("document.getElementById('corner-top').textContent.includes('Slice')")
