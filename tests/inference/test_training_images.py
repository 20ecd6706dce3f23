import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invseg_jax.inference.likeness import differences
from invseg_jax.inference.training_images import read_training_images
from tests.inference.heads import MR, fingerprint, scan


def test_what_was_written_is_read(tmp_path: Path):
    runs = [tmp_path / name for name in ("a", "b")]
    for number, run in enumerate(runs):
        run.mkdir()
        written = fingerprint(MR, [scan(number)])
        (run / "fingerprint.json").write_text(written.to_json())
    training, notes = read_training_images(runs)
    assert training is not None and notes == []
    np.testing.assert_array_equal(training.spacings, [(1, 1, 2)] * 2)
    np.testing.assert_array_equal(training.views, [(20, 24, 32)] * 2)
    assert len(training.whole) == 2 and training.oriented == (True, True)


def broken(change: dict[str, Any]) -> str:
    return json.dumps(json.loads(fingerprint(MR, [scan(0)]).to_json()) | change)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        broken({"spacings": [[1, 1]]}),
        broken({"spacings": [[1, "wide", 1]]}),
        broken({"spacings": [[1, 0, 1]]}),
        broken({"spacings": []}),
        broken({"shapes": [[20, 24, 16], [20, 24, 16]]}),
        broken({"shapes": None}),
        broken({"whole": [[]]}),
        broken({"whole": [[{"minimum": 0, "low": 0, "median": 1, "high": "much"}]]}),
        broken({"whole": [[{"minimum": 0, "low": 0, "median": 1, "high": float("nan")}]]}),
        broken({"whole": [[{"minimum": 0}]]}),
        broken({"oriented": 3}),
        broken({"modalities": ["mr", "pet"]}),
        broken({"odd": 1}),
        None,
    ],
)
def test_a_fingerprint_that_cannot_be_read_is_one_line(content: str | None, tmp_path: Path):
    if content is not None:
        (tmp_path / "fingerprint.json").write_text(content)
    training, (note,) = read_training_images([tmp_path])
    assert training is None
    assert note.startswith(f"{tmp_path}: images cannot be compared with the training images: ")
    assert "\n" not in note
    # The other runs are still there.
    sound = tmp_path / "sound"
    sound.mkdir()
    (sound / "fingerprint.json").write_text(fingerprint(MR, [scan(0)]).to_json())
    training, notes = read_training_images([tmp_path, sound])
    assert training is not None and notes == [note]


def test_runs_of_other_modalities_are_not_put_together(tmp_path: Path):
    runs = [tmp_path / name for name in ("a", "b")]
    for run, kinds in zip(runs, (("mr",), ("mr", "pet")), strict=True):
        run.mkdir()
        written = fingerprint(MR, [scan(0, kinds=kinds)], kinds)
        (run / "fingerprint.json").write_text(written.to_json())
    training, (note,) = read_training_images(runs)
    assert note.startswith(f"{runs[1]}: ") and "the other runs have other modalities" in note
    assert training is not None and training.modalities == ("mr",)
    # What cannot be compared is left out.
    assert differences(training, MR, scan(9, kinds=("mr", "pet"))) == []
