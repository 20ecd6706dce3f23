"""Whose scan a case is, by its id."""

import re

import pytest

from invseg_jax.data.batches.patients import patients_of, torn_patients
from invseg_jax.errors import UserError


@pytest.mark.parametrize(
    ("pattern", "patients"),
    [
        (r"(sub-\d+)_ses-.*", ["sub-1", "sub-1", "sub-2"]),
        (r"sub-\d+", ["sub-1", "sub-1", "sub-2"]),
        (r"ses-(\w)", ["a", "b", "a"]),
        (r"(\d)_(ses)", ["1", "1", "2"]),
    ],
)
def test_the_first_group_or_the_whole_match(pattern: str, patients: list[str]):
    assert patients_of(["sub-1_ses-a", "sub-1_ses-b", "sub-2_ses-a"], pattern) == patients


def test_patterns_that_are_refused():
    with pytest.raises(UserError, match=r"config.data.group: '\[' is no regular expression"):
        patients_of(["a"], "[")
    with pytest.raises(UserError, match=r"'a\|b' finds no patient in the id of c, d; it must"):
        patients_of(["a", "c", "b", "d"], "a|b")


def several(form: str, patients: str = "1234567", scans: str = "12") -> list[str]:
    return [form.format(p=p, s=s) for p in patients for s in scans]


FORMS = [
    "sub-{p}_ses-{s}",
    "sub-{p}_run-{s}",
    "sub-{p}_ses-{s}_T1w",
    "{p}_visit{s}",
    "patient{p}_scan2{s}",
    "P{p}-tp{s}",
    "p{p}_Session-{s}",
    "p{p}.run-{s}",
    "lung_{p}_timepoint_{s}",
    "patient00{p}_frame1{s}",
]


@pytest.mark.parametrize("form", FORMS)
def test_scans_of_one_patient_on_both_sides(form: str):
    ids = several(form)
    # The last scan of each patient but one is held out.
    training, held_out = [*ids[:-1:2], ids[-1]], ids[1:-2:2]
    said = torn_patients(training, held_out)
    assert said.startswith("6 of 7 patients with several scans, by their ids, are both trained on")
    assert f"such as {ids[0]}, {ids[1]}" in said and "\n" not in said
    # The pattern that is proposed does it.
    match = re.search("config.data.group='(.*?)' keeps", said)
    assert match
    assert patients_of(ids, match[1]) == [
        id for id in patients_of(ids[::2], match[1]) for _ in "ab"
    ]
    assert torn_patients(ids[:4], ids[4:]) == ""


def test_ids_that_end_in_other_words():
    ids = ["a1_baseline", "a1_followup", "a2_baseline", "a2_followup2", "a3"]
    said = torn_patients(ids[::2], ids[1::2])
    assert said.startswith("2 of 2 patients with several scans")
    match = re.search("config.data.group='(.*?)' keeps", said)
    assert match and patients_of(ids, match[1]) == ["a1", "a1", "a2", "a2", "a3"]


@pytest.mark.parametrize(
    "ids",
    [
        [f"case_{number}" for number in range(8)],
        [f"scan_{number}" for number in range(8)],
        [f"scan{number}" for number in range(8)],
        [f"hippocampus_{number:03}" for number in range(8)],
        # One name for all: the data set's, not a patient's.
        [f"lung_scan{number}" for number in range(8)],
        [f"Task07_scan{number}" for number in range(8)],
        [f"{kind}_scan{number}" for kind in ("mr", "ct") for number in range(4)],
        [f"video_frame{number}" for number in range(8)],
        several("{p}_{s}"),
        several("BraTS20_{p}_00{s}"),
        several("p{p}_t{s}"),
        [f"p{number}_scan" for number in range(8)],
        several("p{p}_rescan{s}"),
        [f"sub-{number}" for number in range(8)],
        [f"sub-{number}_T1w" for number in range(8)],
        several("sub-{p}_ses-{s}", "1", "12345678"),
    ],
)
def test_ids_that_say_nothing(ids: list[str]):
    assert torn_patients(ids[::2], ids[1::2]) == ""
