import os
from pathlib import Path
from typing import Any

import pytest

from invseg_jax.errors import UserError
from invseg_jax.runs import durable_rename
from invseg_jax.runs.checkpoints import Checkpoints
from tests.runs.small_checkpoints import new_batches, some_state


def test_all_is_on_the_disk_before_the_rename_and_the_rename_before_the_deletion(
    cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "checkpoints"
    events: list[tuple[str, Path, bool]] = []
    fsync, rename = os.fsync, os.rename

    def flushed(number: int) -> None:
        fsync(number)
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        events.append(("fsync", path, (folder / "4").exists()))

    def renamed(source: Any, target: Any, **more: Any) -> None:
        rename(source, target, **more)
        events.append(("rename", Path(target), (folder / "4").exists()))

    with Checkpoints(folder, keep=1) as checkpoints:
        checkpoints.save(4, some_state(), new_batches(cases))
        checkpoints.wait()
        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(os, "rename", renamed)
        checkpoints.save(7, some_state(), new_batches(cases))
        checkpoints.wait()
    assert sorted(p.name for p in folder.iterdir()) == ["7"]
    (at,) = [n for n, (what, path, _) in enumerate(events) if (what, path.name) == ("rename", "7")]
    temporary = folder / "7.orbax-checkpoint-tmp"
    before = {path for what, path, _ in events[:at] if what == "fsync"}
    everything = [folder / "7", *(folder / "7").rglob("*")]
    assert len(everything) > 20
    assert {temporary / path.relative_to(folder / "7") for path in everything} <= before
    # What Orbax renames within the folder has its name by then.
    inner = [n for n, (what, _, _) in enumerate(events[:at]) if what == "rename"]
    assert len(inner) == 3
    assert max(inner) < min(n for n, (what, _, _) in enumerate(events) if what == "fsync")
    # The folder above follows, while the older checkpoint is still there.
    after = [(what, path, older) for what, path, older in events[at + 1 :] if path == folder]
    assert after[0] == ("fsync", folder, True)


def test_a_disk_that_fails_leaves_the_older_one(
    cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(path: Path) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(UserError, match="could not save to .*Input/output error"):
        with Checkpoints(tmp_path, keep=1) as checkpoints:
            checkpoints.save(4, some_state(), new_batches(cases))
            checkpoints.wait()
            monkeypatch.setattr(durable_rename, "flush_tree", broken)
            checkpoints.save(7, some_state(), new_batches(cases))
    monkeypatch.undo()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.latest() == 4
        checkpoints.restore(4, some_state(), new_batches(cases))
