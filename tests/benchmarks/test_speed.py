import pytest

WAYS = ["plain", "remat", "remat, lax", "plain, our branches", "reversible", "reversible, fixed"]


@pytest.mark.slow
def test_rows_and_ratios(measure, bounds):
    tables, _ = measure("speed")
    assert ["written out" in table["title"] for table in tables] == [True, False]
    for table in tables:
        rows = {row["candidate"]: row for row in table["rows"]}
        assert list(rows) == WAYS
        for row in rows.values():
            assert 0 < row["least"] <= row["seconds"] <= row["most"]
            assert row["to_plain"] == pytest.approx(row["seconds"] / rows["plain"]["seconds"])
            assert row["to_remat"] == pytest.approx(row["seconds"] / rows["remat"]["seconds"])
        assert bounds(table)["reversible / plain"] == rows["reversible"]["to_plain"]
    assert {"reversible / remat", "reversible / remat, lax"} <= set(bounds(tables[1]))


def test_one_loop_and_other_channels(measure):
    (table,), _ = measure("speed", "--loops", "scan", "--channels", "4", "--size", "3")
    assert "at 2 x 3^3 voxels, channels 4, 1 couplings a level and side" in table["title"]
    assert all(row["mib"] > 0 for row in table["rows"])
