import pytest


def test_rows_and_ratios(measure, bounds):
    (table,), _ = measure("slabs")
    rows = table["rows"]
    assert [(row["stream"], row["slabs"]) for row in rows] == [
        ("float32", 1),
        ("float32", 2),
        ("fixed", 1),
        ("fixed", 2),
    ]
    activation = 4 * 8**3 * 4
    for row, whole in zip(rows, (rows[0], rows[0], rows[2], rows[2]), strict=True):
        assert row["activations"] == pytest.approx(row["mib"] * 2**20 / activation)
        assert row["ratio"] == pytest.approx(row["seconds"] / whole["seconds"])
    floor = min(row["activations"] for row in rows[:2])
    assert bounds(table)["floor of float32, in activations"] == floor
