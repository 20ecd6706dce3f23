"""The log: torn, damaged, of another image, on a full disk, killed."""

import base64
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.interactive.classical import Classical
from invseg_jax.interactive.prompts import Box
from invseg_jax.interactive.session import Session
from tests.interactive.toy_method import Toy, click, disc, noise

IMAGE = noise((5, 12, 10))


@pytest.fixture
def said() -> list[str]:
    return []


def session(method=None) -> Session:
    return Session(IMAGE, Toy() if method is None else method, labels=("a", "b"))


@pytest.fixture
def log(tmp_path: Path) -> tuple[Path, list[bytes]]:
    """A log of some actions, and the label map after the header and after each line."""
    one, path, maps = session(), tmp_path / "session.jsonl", []
    one.autosave(path)
    todo = [
        lambda: one.prompt(click(5, 5), 2),
        lambda: one.prompt(click(2, 7, False), 2, carry=False),
        lambda: one.carry(),
        lambda: one.paint(disc((8, 3), (12, 10)), 4, label=2),
        lambda: one.undo(),
        lambda: one.redo(),
        lambda: one.add_label("c"),
        lambda: one.clear(1),
    ]
    maps.append(one.label_map().tobytes())
    for do in todo:
        do()
        maps.append(one.label_map().tobytes())
    one.autosave(None)
    return path, maps


def resume(path: Path, said: list[str]) -> Session:
    return Session.resume(path, IMAGE, Toy(), say=said.append)


def test_a_log_is_json_lines_with_a_header(log):
    lines = [json.loads(line) for line in log[0].read_text().splitlines()]
    assert lines[0]["version"] == 1 and lines[0]["labels"] == ["a", "b"]
    assert lines[0]["method"] == "toy" and lines[0]["axis"] == 0
    assert [line["action"] for line in lines[1:]] == [
        *("prompt", "prompt", "carry", "paint", "undo", "redo", "add_label", "clear")
    ]
    assert [line["n"] for line in lines[1:]] == list(range(1, 9))
    assert {z for z, _, _ in lines[1]["made"]} == {0, 1, 2, 3, 4}


def test_a_log_torn_at_any_byte_resumes_with_what_is_whole(log, said):
    path, maps = log
    content = path.read_bytes()
    ends = [n + 1 for n, byte in enumerate(content) if byte == ord("\n")]
    for size in range(len(content)):
        path.write_bytes(content[:size])
        # Without its line break, a line is whole all the same.
        whole = sum(size >= end - 1 for end in ends)
        said.clear()
        if not whole:
            with pytest.raises(UserError, match="first line is not whole"):
                resume(path, said)
            continue
        assert resume(path, said).label_map().tobytes() == maps[whole - 1]
        torn = size not in ends and size + 1 not in ends
        assert len(said) == torn and all("the last line is not whole" in line for line in said)


def test_a_flipped_bit_is_one_error(log, said):
    path, _ = log
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    ends = [n for n, byte in enumerate(content) if byte == ord("\n")]
    places = {*rng.choice(len(content), 300, replace=False).tolist(), *ends}
    for place in sorted(places):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(UserError) as error:
            resume(path, said)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_lines_that_are_missing_or_exchanged_are_found(log, said):
    path, _ = log
    lines = path.read_bytes().splitlines(keepends=True)
    for wrong in ([lines[0], *lines[2:]], [lines[0], lines[2], lines[1]], [*lines, lines[-1]]):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(UserError, match="is not the one that should follow"):
            resume(path, said)


def sealed(values: dict[str, object]) -> bytes:
    """A line with a right checksum."""
    text = json.dumps(values, separators=(",", ":")).encode()[:-1]
    return text + b',"crc":"%08x"}\n' % zlib.crc32(text)


BOMB = base64.b64encode(zlib.compress(bytes(10**8))).decode()
WRONG_LINES: dict[str, dict[str, object]] = {
    "no action": {},
    "unknown action": {"action": "__import__"},
    "no slice": {"action": "confirm", "label": 1},
    "no such slice": {"action": "confirm", "label": 1, "index": 99},
    "no such label": {"action": "confirm", "label": 9, "index": 1},
    "no prompt": {"action": "prompt", "label": 1, "index": 1, "carry": True},
    "prompt of a wrong kind": {
        **{"action": "prompt", "label": 1, "index": 1, "carry": True},
        "prompt": {"kind": "spell", "points": [[1, 1]]},
    },
    "carry is no truth": {
        **{"action": "prompt", "label": 1, "index": 1, "carry": "yes"},
        "prompt": click(1, 1).to_json(),
    },
    "made of other slices": {
        **{"action": "prompt", "label": 1, "index": 1, "carry": False},
        **{"prompt": click(1, 1).to_json(), "made": [[3, None, ""]]},
    },
    "made is no list": {"action": "carry", "label": 1, "made": 5},
    "made is no base64": {"action": "carry", "label": 1, "made": [[1, 1.0, "*"]]},
    "quality is no share": {"action": "carry", "label": 1, "made": [[1, 7.0, ""]]},
    "mask too short": {"action": "paint", "label": 1, "index": 1, "mask": "5 6"},
    "mask too long": {"action": "paint", "label": 1, "index": 1, "mask": "9" * 12},
    "mask is a list": {"action": "paint", "label": 1, "index": 1, "mask": [120]},
    "mask is negative": {"action": "paint", "label": 1, "index": 1, "mask": "-1 121"},
    "import is no list": {"action": "import", "masks": 3},
    "import of a wrong item": {"action": "import", "masks": [[1, 2]]},
    "import of no label": {"action": "import", "masks": [[9, 2, "120"]]},
    "nothing to undo": {"action": "undo"},
    "nothing to redo": {"action": "redo"},
    "name is a number": {"action": "add_label", "name": 3},
}


@pytest.mark.parametrize("case", WRONG_LINES)
def test_a_line_that_no_session_wrote_is_one_error(case, tmp_path, said):
    path = tmp_path / "session.jsonl"
    session().write_log(path)
    path.write_bytes(path.read_bytes() + sealed({"n": 1, **WRONG_LINES[case]}))
    with pytest.raises(UserError) as error:
        resume(path, said)
    assert f"{path}: line 2" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("packed", [BOMB, "AAAA", "eJwDAAAAAAE="], ids=["bomb", "noise", "none"])
def test_what_is_no_slice_is_found_and_never_unpacked_beyond_it(packed, tmp_path, said):
    path = tmp_path / "session.jsonl"
    session().write_log(path)
    line = {"n": 1, "action": "prompt", "label": 1, "index": 1, "carry": False}
    line |= {"prompt": click(1, 1).to_json(), "made": [[1, 1.0, packed]]}
    path.write_bytes(path.read_bytes() + sealed(line))
    with pytest.raises(UserError, match="does not hold 12 x 10 probabilities"):
        resume(path, said)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"log": "another"}, "is no log"),
        ({"log": "invseg_jax session", "version": 2}, "is of version 2"),
        ({"log": "invseg_jax session", "version": 1}, "no header: image is missing"),
        (
            {"log": "invseg_jax session", "version": 1, "image": "", "axis": "0", "labels": []}
            | {"method": ""},
            "axis is '0', not a whole number",
        ),
    ],
)
def test_a_header_that_is_none_is_one_error(header, message, tmp_path, said):
    path = tmp_path / "session.jsonl"
    path.write_bytes(sealed(header))
    with pytest.raises(UserError, match=message):
        resume(path, said)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello\n", b"\x1f\x8b\0\0", b"{}\n"])
def test_a_file_that_is_no_log_is_one_error(content, tmp_path, said):
    path = tmp_path / "session.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is no log of a session"):
        resume(path, said)
    with pytest.raises(UserError, match="no such file"):
        resume(tmp_path / "none", said)


def test_a_log_of_another_image_is_refused(log, said):
    for other in (noise((5, 12, 10), seed=1), noise((5, 10, 12)), noise((4, 12, 10))):
        with pytest.raises(UserError, match="is the log of another image"):
            Session.resume(log[0], other, Toy(), say=said.append)
    stretched = type(IMAGE)(IMAGE.image, (3.0, 1.0, 1.5))
    with pytest.raises(UserError, match="is the log of another image"):
        Session.replay(log[0], stretched, Toy(), say=said.append)


def test_another_method_is_said_and_can_replay(log, said):
    Session.resume(log[0], IMAGE, Classical(), say=said.append)
    assert said == [f"{log[0]}: was made with 'toy', not with 'without a network'"]
    Session.replay(log[0], IMAGE, Classical(), say=said.append)


def test_resuming_asks_nothing_of_the_method(log, said):
    class Asleep(Toy):
        def segment(self, volume, index, prompts, mask):
            raise AssertionError("asked to segment")

        def carry(self, volume, confirmed, slices, probabilities):
            raise AssertionError("asked to carry")

    found = Session.resume(log[0], IMAGE, Asleep(), say=said.append)
    assert found.label_map().tobytes() == log[1][-1]


def test_the_classical_method_replays_to_the_same_bits(tmp_path, said):
    one, path = session(Classical()), tmp_path / "session.jsonl"
    one.prompt(Box(((2, 2), (8, 7))), 1)
    one.prompt(click(3, 3), 3)
    one.prompt(click(9, 9, False), 3, label=2)
    one.prompt(click(5, 5), 3, label=2)
    one.write_log(path)
    for read in (Session.replay, Session.resume):
        other = read(path, IMAGE, Classical(), say=said.append)
        for label in (1, 2):
            assert np.array_equal(other.probabilities(label), one.probabilities(label))
        assert np.array_equal(other.label_map(), one.label_map())


def test_a_resumed_session_goes_on_with_its_log(log, said):
    path, _ = log
    path.write_bytes(path.read_bytes() + b'{"n":9,"act')
    one = resume(path, said)
    one.autosave(path)
    one.prompt(click(3, 3), 0)
    with pytest.raises(UserError, match="another session writes to it"):
        resume(path, said).autosave(path)
    one.autosave(None)
    assert len(said) == 1
    two = resume(path, said)
    assert np.array_equal(two.label_map(), one.label_map()) and len(said) == 1
    two.autosave(path)
    two.autosave(path)
    two.undo()
    assert np.array_equal(resume(path, said).label_map(), two.label_map())


def test_an_autosave_replaces_no_other_file(log, tmp_path):
    for path in (log[0], tmp_path):
        with pytest.raises(UserError, match="is there already"):
            session().autosave(path)
    one = session()
    one.autosave(tmp_path / "new" / "a.jsonl")
    one.prompt(click(3, 3), 0)
    os.replace(tmp_path / "new" / "a.jsonl", tmp_path / "moved")
    with pytest.raises(UserError, match="was moved, removed or replaced"):
        one.undo()
    assert one.can_undo
    one.autosave(tmp_path / "b.jsonl")
    one.undo()


def test_what_cannot_be_logged_is_not_done(log, said, monkeypatch):
    path, maps = log
    one = resume(path, said)
    one.autosave(path)
    content, write = path.read_bytes(), os.write

    def full(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, bytes(data)[: len(data) // 2])

    monkeypatch.setattr(os, "write", full)
    for do in (lambda: one.prompt(click(3, 3), 0), lambda: one.undo()):
        with pytest.raises(UserError, match="No space left on device.*the action was not done"):
            do()
        assert path.read_bytes() == content and one.label_map().tobytes() == maps[-1]
    monkeypatch.undo()
    one.prompt(click(3, 3), 0)
    assert np.array_equal(resume(path, said).label_map(), one.label_map())


def test_write_log_leaves_the_old_file_where_it_cannot_write(log, tmp_path):
    path, _ = log
    content = path.read_bytes()
    with pytest.raises(UserError, match="cannot be written"):
        session().write_log(path / "below" / "file")
    assert path.read_bytes() == content


def test_kill_9_loses_nothing(tmp_path, said):
    path = tmp_path / "session.jsonl"
    program = textwrap.dedent(f"""
        import os, signal
        from invseg_jax.interactive.session import Session
        from tests.interactive.toy_method import Toy, click, noise
        session = Session(noise((5, 12, 10)), Toy())
        session.autosave({str(path)!r})
        for n in range(5):
            session.prompt(click(n, n), n)
            print(session.label_map().sum(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert resume(path, said).label_map().sum() == int(run.stdout.split()[-1])
    assert said == []
