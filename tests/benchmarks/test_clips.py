import pytest

from invseg_jax import benchmark


def test_every_slice_of_a_clip_adds_to_what_is_stored(measure):
    (table,), _ = measure("clips")
    one, four = table["rows"]
    assert (one["length"], four["length"]) == (1, 4)
    for way in ("plain", "remat", "reversible"):
        assert four[way] > one[way] > 0
    assert four["saved"] == pytest.approx(four["plain"] / four["reversible"])


def test_a_window_that_the_networks_do_not_take_is_refused(capsys):
    assert benchmark.main(["clips", "--quick", "--window", "18"]) == benchmark.USER_ERROR
    assert "give a multiple of 4" in capsys.readouterr().err
