import json
from pathlib import Path

import pytest

from invseg_jax.data.batches.split_file import read_split, refuse_unknown
from invseg_jax.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "splits_final.json"


def test_one_entry_a_fold(file: Path):
    entries = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["c"], "val": ["a", "b"], "more": 1}]
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(entries).encode())  # a byte order mark
    assert read_split(str(file), 0) == ({"a", "b"}, {"c"})
    assert read_split(str(file), 1) == ({"c"}, {"a", "b"})


FORM = 'not a list such as [{"train": ["a", "b"], "val": ["c"]}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read as JSON"),
        ("[{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("{}", FORM),
        ("[]", FORM),
        ("[3]", FORM),
        ('{"train": ["a"], "val": ["b"]}', FORM),
        ('[{"train": ["a"]}]', FORM),
        ('[{"train": ["a"], "val": "b"}]', FORM),
        ('[{"train": ["a"], "val": [3]}]', FORM),
        ('[{"train": ["a"], "val": []}, {"train": 1, "val": []}]', FORM),
        ('[{"train": ["a"], "val": ["a", "b"]}]', "entry 0 names a twice; name every id once"),
        ('[{"train": ["a", "b", "b"], "val": []}]', "entry 0 names b twice; name every id once"),
        ('[{"train": [], "val": ["a"]}]', 'entry 0 has no id in "train"'),
    ],
)
def test_files_that_are_refused(file: Path, text: str, said: str):
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        read_split(str(file), 0)
    assert str(caught.value).startswith(f"config.data.split: {file}: {said}")
    assert "\n" not in str(caught.value)


def test_a_fold_that_is_not_there(file: Path):
    file.write_text('[{"train": ["a"], "val": ["b"]}]')
    for fold in (1, -1):
        with pytest.raises(UserError, match=f"config.data.fold {fold}: .* has 1 entries; folds"):
            read_split(str(file), fold)


def test_a_file_that_is_not_there(file: Path):
    with pytest.raises(UserError, match=r"splits_final\.json: no such file; check the path"):
        read_split(str(file), 0)
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_split(str(file.parent), 0)


def test_unknown_ids():
    refuse_unknown("s.json", {"a"}, ["a", "b"])
    with pytest.raises(UserError, match=r"s\.json names c, d, and .* no labelled .*; there are a$"):
        refuse_unknown("s.json", {"a", "d", "c"}, ["a"])
