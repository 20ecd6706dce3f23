"""The page: what its table says, escaping, and that it needs nothing else."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.evaluation.page import report_page

PNG = b"\x89PNG\r\n\x1a\n not much of a picture"


class Page(HTMLParser):
    """Checks that tags are balanced and keeps the text of each table cell."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.rows, self.sources = [], set(), [], []
        self.links, self.anchors = {}, []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.add(tag)
        if tag == "img":
            self.sources.append(values)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "a":
            self.link = values["href"]
        if "id" in values:
            self.anchors.append(values["id"])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if "a" in self.open:
            self.links[data] = self.link


def summary():
    return {
        "mean": {
            "dice": {"CSF": 0.85, "GM": 0.7, "mean": 0.775},
            "iou": {"CSF": 0.75, "GM": 0.5, "mean": 0.625},
        },
        "cases": [
            {
                "id": "a",
                "dice": {"CSF": 0.9, "GM": 0.7, "mean": 0.8},
                "iou": {"CSF": 0.8, "GM": 0.5, "mean": 0.65},
            },
            {
                "id": "b",
                "dice": {"CSF": 0.8, "GM": None, "mean": 0.8},
                "iou": {"CSF": 0.7, "GM": None, "mean": 0.7},
            },
        ],
        "config": {"steps": 7},
        "versions": {"python": "3.11.0", "jax": None},
    }


def test_page_shows_the_table_and_the_pictures(tmp_path):
    (tmp_path / "p.png").write_bytes(PNG)
    (tmp_path / "p.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    text = report_page(summary(), {"a": tmp_path / "p.png", "photograph": tmp_path / "p.jpg"})
    page = Page(text)
    sd = np.std([0.9, 0.8], ddof=1)
    assert page.rows == [
        ["case", "CSF", "GM", "mean", "IoU"],
        ["mean ± sd", f"0.8500 ± {sd:.4f}", "0.7000", "0.7750 ± 0.0000", f"0.6250 ± {sd / 2:.4f}"],
        ["a", "0.9000", "0.7000", "0.8000", "0.6500"],
        ["b", "0.8000", "–", "0.8000", "0.7000"],
    ]
    assert [s["alt"] for s in page.sources] == ["a", "photograph"]
    head, data = page.sources[0]["src"].split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == PNG
    assert page.sources[1]["src"].startswith("data:image/jpeg;base64,")
    assert "2 cases" in text
    assert "python 3.11.0" in text
    assert "jax" not in text


def test_a_case_leads_to_its_picture(tmp_path):
    (tmp_path / "p.png").write_bytes(PNG)
    page = Page(report_page(summary(), {"photograph": tmp_path / "p.png", "b": tmp_path / "p.png"}))
    assert page.anchors == ["picture-1", "picture-2"]
    assert page.links == {"b": "#picture-2"}


def test_page_needs_nothing_else(tmp_path):
    (tmp_path / "p.png").write_bytes(PNG)
    text = report_page(summary(), {"a": tmp_path / "p.png"})
    assert not re.search(r"(?:src|href)=\"(?!data:|#)|url\(|@import", text)  # loads nothing
    assert "script" not in Page(text).tags
    assert 'name="viewport"' in text
    assert "@media print" in text


def test_every_string_is_escaped(tmp_path):
    evil = '<script>alert("1")</script>&\'{x}'
    (tmp_path / "p.png").write_bytes(PNG)
    bad = {
        "mean": {"dice": {evil + "c": 0.5, "mean": 0.5}},
        "cases": [{"id": evil, "dice": {evil + "c": 0.5, "mean": 0.5}}],
        "config": {evil: evil},
        "versions": {evil: evil},
    }
    page = Page(report_page(bad, {evil: tmp_path / "p.png"}))
    assert "script" not in page.tags
    assert page.rows[0][1] == evil + "c"
    assert page.rows[2][0] == evil
    assert page.sources[0]["alt"] == evil


def test_no_case_at_all():
    nothing = {
        "mean": {"dice": {"CSF": None, "mean": None}},
        "cases": [],
        "config": {},
        "versions": {},
    }
    text = report_page(nothing, {})
    assert Page(text).rows == [["case", "CSF", "mean"], ["mean ± sd", "–", "–"]]
    assert "nan" not in text.lower()
    assert "Pictures" not in text


def test_lost_picture_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png"):
        report_page(summary(), {"x": tmp_path / "gone.png"})
