"""In which order slices are made anew."""

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from invseg_jax.interactive.chains import chains

FULL, EMPTY = np.ones((2, 2), bool), np.zeros((2, 2), bool)


def rows(confirmed, slices):
    return [(c.start, c.slices, c.far, c.ends) for c in chains(confirmed, slices)]


def test_two_rows_go_out_from_one_slice_to_the_ends():
    assert rows({3: FULL}, [0, 1, 2, 4, 5]) == [
        (3, (2, 1, 0), None, True),
        (3, (4, 5), None, True),
    ]


def test_two_rows_meet_between_two_slices():
    assert rows({1: FULL, 6: FULL}, range(2, 6)) == [
        (1, (2, 3), 6, False),
        (6, (5, 4), 1, False),
    ]


def test_from_an_empty_slice_nothing_is_carried():
    assert rows({1: FULL, 6: EMPTY}, range(2, 6)) == [(1, (2, 3, 4, 5), 6, True)]
    assert rows({1: EMPTY, 6: FULL}, [2, 3, 4, 5]) == [(6, (5, 4, 3, 2), 1, True)]
    assert rows({1: EMPTY, 6: EMPTY}, range(2, 6)) == []
    assert rows({2: EMPTY}, [0, 1, 3]) == []


def test_gaps_without_a_wanted_slice_are_left_alone():
    assert rows({1: FULL, 3: FULL, 6: FULL}, [2]) == [(1, (2,), 3, False)]


@given(
    st.dictionaries(st.integers(0, 20), st.sampled_from([FULL, EMPTY]), min_size=1),
    st.sets(st.integers(0, 20)),
)
def test_every_wanted_slice_is_in_one_row_and_no_confirmed_one_is(confirmed, wanted):
    wanted = sorted(wanted - confirmed.keys())
    found = chains(confirmed, wanted)
    gone_through = [z for chain in found for z in chain.slices]
    assert len(gone_through) == len(set(gone_through))
    assert not confirmed.keys() & set(gone_through)
    for chain in found:
        assert confirmed[chain.start].any()
        assert abs(chain.slices[0] - chain.start) == 1
        assert (np.diff(chain.slices) == chain.direction).all()
    beside = sorted(confirmed)
    for z in set(wanted) - set(gone_through):
        below = [c for c in beside if c < z][-1:]
        above = [c for c in beside if c > z][:1]
        assert not any(confirmed[c].any() for c in below + above)
