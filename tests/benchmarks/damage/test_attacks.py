"""Each attack changes one file, in the way that it says."""

import json
from pathlib import Path

import numpy as np
import pytest

from invseg_jax.benchmarks.damage import attacks

CONTENT = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "e": [{"f": None}]}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_one_bit_is_flipped(tmp_path: Path, rng: np.random.Generator) -> None:
    before = rng.bytes(50)
    places = set()
    for _ in range(100):
        path = tmp_path / "f"
        path.write_bytes(before)
        said = attacks.flip_bit(path, rng)
        bits = [
            np.unpackbits(np.frombuffer(b, np.uint8), bitorder="little")
            for b in (before, path.read_bytes())
        ]
        (changed,) = np.flatnonzero(bits[0] != bits[1])
        assert said == f"bit {changed}"
        places.add(int(changed))
    assert len(places) > 50


def test_cut_and_emptied_and_deleted(tmp_path: Path, rng: np.random.Generator) -> None:
    path, before = tmp_path / "f", b"some bytes"
    for _ in range(20):
        path.write_bytes(before)
        attacks.cut(path, rng)
        assert len(path.read_bytes()) < len(before) and before.startswith(path.read_bytes())
    attacks.empty(path, rng)
    assert path.read_bytes() == b""
    attacks.flip_bit(path, rng)  # of nothing: anything but nothing
    assert path.read_bytes() != b""
    attacks.delete(path, rng)
    assert not path.exists()


@pytest.mark.parametrize("attack", attacks.OF_JSON.values(), ids=list(attacks.OF_JSON))
def test_small_edits_change_json_at_one_place(
    tmp_path: Path, rng: np.random.Generator, attack: attacks.Attack
) -> None:
    path, seen = tmp_path / "f.json", set()
    for _ in range(60):
        path.write_text(json.dumps(CONTENT))
        said = attack(path, rng)
        assert json.loads(path.read_text()) != CONTENT
        seen.add(said.split("'")[1])
    assert seen == {"a", "b", "c", "d", "e", "f"}  # at any depth


def test_edits_do_what_they_say(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "f.json"
    path.write_text('{"only": 1}')
    attacks.rename_key(path, rng)
    assert json.loads(path.read_text()) == {"only_": 1}
    attacks.change_type(path, rng)
    assert not isinstance(json.loads(path.read_text())["only_"], int)
    attacks.remove_key(path, rng)
    assert json.loads(path.read_text()) == {}
