from pathlib import Path

import pytest

from tests.drills.corrupted import DAMAGES, drill


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc")
def test_no_damaged_file_stops_the_others(tmp_path: Path):
    # Number 5 k is sound, the others go through all kinds.
    wrong, watch, cases = drill(tmp_path / "drill", 3 * len(DAMAGES), every=33)
    assert wrong == []
    assert {name.split(" ")[-1] for name in cases} == {*DAMAGES, "sound"}
    assert len(watch.curve) == 3
