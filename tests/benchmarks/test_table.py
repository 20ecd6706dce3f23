import json
import math

from invseg_jax.benchmarks.table import Bound, Column, Table

COLUMNS = [
    Column("name", "way"),
    Column("mib", "MiB", ".1f"),
    Column("share", "share", ".0%"),
    Column("remark", "remark"),
]


def test_text_aligns_words_left_and_numbers_right_without_empty_columns():
    table = Table(
        "Bytes",
        COLUMNS,
        rows=[{"name": "plain", "mib": 1234.56, "share": 1.0}, {"name": "reversible", "mib": 7}],
        notes=["A note."],
        bounds=[Bound("share", 0.051, 0.05, form=".1%")],
    )
    assert table.text().splitlines() == [
        "Bytes",
        "",
        "way            MiB  share",
        "----------  ------  -----",
        "plain       1234.6   100%",
        "reversible     7.0      -",
        "",
        "A note.",
        "share: 5.1% (aim: at most 5.0%; missed)",
    ]


def test_text_without_rows_and_notes():
    assert Table("Nothing", COLUMNS).text().splitlines()[-1] == "---  ---  -----  ------"


def test_json_has_the_rows_as_they_were_given():
    row = {"name": "plain", "mib": 0.1 + 0.2, "further": [1]}
    table = Table("Bytes", COLUMNS, rows=[row], bounds=[Bound("x", 1.0, 2.0, at_most=False)])
    assert json.loads(json.dumps(table.as_json())) == {
        "title": "Bytes",
        "rows": [row],
        "notes": [],
        "bounds": [{"name": "x", "value": 1.0, "at_least": 2.0, "met": False}],
    }


def test_bounds():
    assert Bound("x", 2.0, 2.0).met and Bound("x", 2.0, 2.0, at_most=False).met
    assert not Bound("x", 2.1, 2.0).met and not Bound("x", 1.9, 2.0, at_most=False).met
    assert not Bound("x", math.nan, 2.0).met and not Bound("x", math.nan, 2.0, at_most=False).met
    assert Bound("x", 3.0, 2.0, at_most=False).text() == "x: 3.00 (aim: at least 2.00; met)"
