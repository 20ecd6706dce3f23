"""What the site is made from: pages that link to one another, and pages made from the code."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_code_blocks import PAGES, ROOT, name_of

DOCS = ROOT / "docs"


def test_the_readme_is_a_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    targets += re.findall(r"^```\{(?:image|figure)\} (\S+)", text, re.MULTILINE)
    for target in targets:
        if not re.match(r"https?:|#", target):
            assert (page.parent / target.partition("#")[0]).exists(), f"{name_of(page)}: {target}"


def test_pictures_have_a_description() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert "![](" not in text, name_of(page)
        for options in re.findall(r"^```\{image\} [^\n]*\n(.*?)^```", text, re.M | re.S):
            assert ":alt:" in options, name_of(page)


def test_the_count_of_the_memory_page() -> None:
    count = runpy.run_path(str(DOCS / "pictures" / "memory_count.py"))
    text = (DOCS / "explanation" / "memory.md").read_text(encoding="utf-8")
    unet = count["unet"]((24, 48, 72, 112), 64)
    assert unet[0] == 325 and f"**{sum(unet):.0f}**" in text
    for couplings in (2, 30):
        for memory in ("plain", "remat", "reversible"):
            kept = count["invertible"]((32, 64, 128, 256), 64, couplings, memory)
            row = re.search(rf"^\| {memory}, L = {couplings} \|(.*)\|$", text, re.M)
            assert row is not None
            written = [float(cell.strip(" *")) for cell in row[1].split("|")]
            assert written == pytest.approx([*kept, sum(kept)], abs=0.51)


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(DOCS / "extensions"))


def test_docstrings_are_translated(extensions: None) -> None:
    from plain_docstrings import translated  # pyright: ignore[reportMissingImports]

    lines = [
        "Adds `x`s to *y*.",
        "",
        "    y = x * 2",
        "",
        "Args:",
        "    x: a `Stream`, or a | b.",
    ]
    text = "\n".join(translated(lines))
    assert "Adds ``x``\\ s to \\*y\\*." in text
    assert "::\n\n        y = x * 2\n" in text
    assert "Args:\n    x: a ``Stream``, or a \\| b." in text


def test_docstrings_of_the_package_become_valid_text(extensions: None) -> None:
    from docutils.core import publish_doctree
    from plain_docstrings import translated  # pyright: ignore[reportMissingImports]
    from sphinx.ext.napoleon import Config  # pyright: ignore[reportMissingImports]
    from sphinx.ext.napoleon.docstring import (  # pyright: ignore[reportMissingImports]
        GoogleDocstring,
    )

    from invseg_jax.reversible import AdditiveCoupling, Chain, u_shape

    for subject in (AdditiveCoupling, Chain, u_shape):
        lines = (subject.__doc__ or "").splitlines()
        dedented = [lines[0], *(line[4:] for line in lines[1:])]
        settings: Any = Config(napoleon_use_ivar=True)
        text = str(GoogleDocstring(translated(dedented), settings))
        document = publish_doctree(text, settings_overrides={"report_level": 5})
        assert not list(document.findall(lambda node: node.tagname == "system_message"))
        assert list(document.findall(lambda node: node.tagname == "literal_block"))


def test_settings_page(extensions: None) -> None:
    from generated_pages import settings_page  # pyright: ignore[reportMissingImports]

    page = settings_page(
        [
            ("seed", int, 0, "of the weights"),
            ("data.patch", "tuple[int, int, int]", (64, 64, 64), "voxels\nof a patch"),
            ("data.plain.label", str, "", "pattern, as */label.nii.gz or `*.nii`"),
            ("model.settings.channels (UNet3D)", "(int, ...)", "(24, 48)", "at each level"),
        ]
    )
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## The run",
        "## `data`",
        "## `data.plain`",
        "## `model.settings` of UNet3D",
    ]
    assert "* - `data.patch`" in page and "  - voxels of a patch" in page
    assert "* - `model.settings.channels`" in page
    assert '`""`' in page and "as \\*/label.nii.gz or `*.nii`" in page


def test_pictures_are_drawn(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(DOCS / "pictures" / "draw.py"), str(tmp_path)], check=True, timeout=120
    )
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (DOCS / "pictures").glob("*.svg")}
