"""A training whose prepared data are damaged on the disk ends as if nothing had happened."""

from pathlib import Path

import numpy as np
import pytest

from invseg_jax.training.log import TrainingLog
from tests.tiny_run import parameters, tiny_config
from tests.trained import train


def test_bits_flipped_in_the_course_of_a_training_change_nothing(
    balls: Path,
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("INVSEG_CACHE", str(tmp_path / "cache"))
    advance = TrainingLog.advance

    def damage(self: TrainingLog, step: int) -> None:
        advance(self, step)
        if step == 2:
            for name in ("image", "label"):
                for path in (tmp_path / "cache").glob(f"cases/*/{name}.npy"):
                    content = bytearray(path.read_bytes())
                    for place in range(200, len(content), 97):
                        content[place] ^= 64
                    path.write_bytes(content)

    monkeypatch.setattr(TrainingLog, "advance", damage)
    train(tiny_config(), tmp_path / "run", str(balls))
    out = capsys.readouterr().out
    said = [line for line in out.splitlines() if line.startswith("cache entry of case ball_")]
    # Those that a later step or the validation reads; each is mended once.
    assert 3 <= len(said) == len(set(said)) <= 6
    assert all(line.endswith("its checksum differs); it is made anew") for line in said)
    whole, mended = parameters(trained_run), parameters(tmp_path / "run")
    assert whole.keys() == mended.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, mended[name], err_msg=name)
