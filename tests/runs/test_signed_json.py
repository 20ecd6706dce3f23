import json
import math
from pathlib import Path
from typing import Any

import pytest

from invseg_jax.errors import UserError
from invseg_jax.files.json_values import json_checksum
from invseg_jax.runs import signed_json

VALUES: dict[str, Any] = {
    "name": "Zürich \udc80",  # as a file name that is no UTF-8
    "numbers": [1, 2.5, -0.0, 1e-300, 2**70],
    "limit": math.inf,
    "nothing": None,
    "inner": {"b": True, "a": []},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.json"
    path.write_text(signed_json.to_text(VALUES))
    return path


def test_what_is_written_is_read(file: Path):
    stored = signed_json.read(file)
    values = stored.values
    assert values == VALUES and stored.complete and stored.form == 4
    assert list(values) == list(VALUES)
    first, second = file.read_text().splitlines()[1:3]
    assert first == ' "format": 4,' and second.startswith(' "digest": "crc32:')


def test_the_digest_is_of_the_values_and_not_of_their_layout(file: Path):
    content = json.loads(file.read_text())
    shuffled = dict(sorted(content.items(), reverse=True))
    file.write_text(json.dumps(shuffled, ensure_ascii=True))
    assert signed_json.read(file).values == VALUES


def test_every_changed_value_is_found(file: Path):
    content = json.loads(file.read_text())
    for name in VALUES:
        file.write_text(json.dumps(content | {name: "another"}))
        with pytest.raises(UserError, match="does not fit its digest; put back a copy of it, or"):
            signed_json.read(file)


def test_without_the_digest_line_a_change_is_meant(file: Path):
    content = json.loads(file.read_text())
    del content["digest"]
    file.write_text(json.dumps(content | {"nothing": 3}))
    stored = signed_json.read(file)
    assert stored.values == VALUES | {"nothing": 3} and stored.complete


def test_a_file_of_an_earlier_version(file: Path):
    for form in (None, 2):
        content = VALUES if form is None else {"format": form, **VALUES}
        file.write_text(json.dumps(content))
        stored = signed_json.read(file)
        assert stored.values == VALUES and stored.form == form and not stored.complete


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Expecting value"),
        (b"[1]", "it is no JSON object"),
        (b"null", "it is no JSON object"),
        (b'{"a": 1', "Expecting"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": 1, "a": 2}', "the key 'a' stands there twice"),
        (b'{"a": {"b": 1, "b": 1}}', "the key 'b' stands there twice"),
        (b"[" * 100_000, "recursion"),
        (b'{"digest": "crc32:00000000"}', "does not fit its digest"),
        (b'{"digest": 5, "format": 2}', "does not fit its digest"),
        (
            b'{"format": 5}',
            "it has the format 5, and this version reads up to 4; use the",
        ),
        (b'{"format": 1}', "it has the format 1, and this version reads up to 4"),
        (b'{"format": "2"}', "it has the format '2', and this version reads up to 4"),
        (b'{"format": true}', "it has the format True"),
    ],
)
def test_what_is_no_such_file_is_one_line(file: Path, content: bytes, said: str):
    file.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        signed_json.read(file)
    assert str(caught.value).startswith(f"{file} cannot be read: ")
    assert "\n" not in str(caught.value)


def test_a_digest_without_a_format_is_damage(file: Path):
    digest = f"crc32:{json_checksum({'a': 1}):08x}"
    file.write_text(json.dumps({"a": 1, "digest": digest}))
    with pytest.raises(UserError, match='has a "digest" and no "format"'):
        signed_json.read(file)


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        signed_json.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        signed_json.read(tmp_path / "missing")
