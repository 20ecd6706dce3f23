import gc
import logging
import sys
import warnings

import pytest
from absl import logging as absl_logging

from invseg_jax.runs.orbax_noise import quiet


def state_of_the_process() -> tuple:
    return (
        absl_logging.get_verbosity(),
        logging.getLogger("asyncio").level,
        sys.unraisablehook,
        list(warnings.filters),
    )


def test_the_process_is_left_as_it_was_found():
    before = state_of_the_process()
    with quiet():
        assert state_of_the_process() != before
        with quiet():
            pass
    assert state_of_the_process() == before
    with pytest.raises(KeyError):
        with quiet():
            raise KeyError
    assert state_of_the_process() == before


class Fails:
    def __init__(self, said: str):
        self.said = said

    def __del__(self):
        raise RuntimeError(self.said)


def test_only_what_orbax_leaves_behind_is_muted(monkeypatch: pytest.MonkeyPatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: told.append(str(found.exc_value)))

    async def forgotten() -> None:
        pass

    with quiet() as noise:
        for said in ("Event loop is closed", "something else"):
            Fails(said)
        with warnings.catch_warnings(record=True) as warned:
            coroutine = forgotten()
            del coroutine
            gc.collect()
        noise.fade(silence=0.001)
    assert told == ["something else"]
    assert warned == []
