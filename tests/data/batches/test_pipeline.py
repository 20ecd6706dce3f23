import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from invseg_jax.data.batches.pipeline import training_batches
from invseg_jax.data.layouts.case import IGNORED
from invseg_jax.data.prepare.cache import CachedCase
from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings

PATCH = (4, 5, 3)
VOXEL = (2, 3, 1)  # the one voxel of class 2; there is none of class 1


SETTINGS = DataSettings(patch=PATCH, batch=2, foreground=0.5, threads=0)


def batches_of(cases, *, seed=7, margin=0, process=0, processes=1, patches=None, **changes: Any):
    return training_batches(
        cases,
        replace(SETTINGS, **changes),
        patches=patches,
        seed=seed,
        margin=margin,
        process=process,
        processes=processes,
    )


def make_case(folder, number, *, shape=(9, 8, 7), label=True, channels=2):
    """A cache entry whose voxels tell the case (channel 0) and the place (channel 1)."""
    entry = folder / f"entry-{number}"
    entry.mkdir(parents=True)
    image = np.empty((*shape, channels), np.float32)
    image[..., 0] = number
    image[..., 1:] = np.arange(np.prod(shape), dtype=np.float32).reshape(*shape, 1)
    np.save(entry / "image.npy", image)
    if label:
        classes = np.zeros(shape, np.uint8)
        classes[VOXEL] = 2
        np.save(entry / "label.npy", classes)
        np.save(entry / "foreground-2.npy", np.array([VOXEL], np.int32))
    (entry / "case.json").write_text(json.dumps({"affine": np.eye(4).tolist()}))
    return CachedCase(f"subject-{number}", entry, shape, 3)


@pytest.fixture
def cases(tmp_path):
    return [make_case(tmp_path, number) for number in range(1, 6)]


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def subjects(batches):
    return [int(number) for b in batches for number in b["image"][:, 0, 0, 0, 0]]


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["label"], b["label"])


def test_shapes_and_dtypes(cases):
    (batch,) = take(batches_of(cases), 1)
    assert set(batch) == {"image", "label"}
    assert batch["image"].shape == (2, 4, 5, 3, 2) and batch["image"].dtype == np.float32
    assert batch["label"].shape == (2, 4, 5, 3) and batch["label"].dtype == np.int32


def test_image_and_label_are_crops_of_one_place(cases):
    place = np.ravel_multi_index(VOXEL, cases[0].shape)
    for batch in take(batches_of(cases, foreground=1.0), 10):
        np.testing.assert_array_equal(batch["label"] == 2, batch["image"][..., 1] == place)
        assert (batch["label"] == 2).any(axis=(1, 2, 3)).all()


def test_with_a_margin_every_voxel_is_in_the_middle_of_some_patch(tmp_path):
    case, margin = make_case(tmp_path, 1), 2
    settings = {"patch": (6, 7, 6), "batch": 1, "margin": margin, "foreground": 0.1}
    middles = set()
    for batch in take(batches_of([case], **settings), 4000):
        # What lies outside of the volume has not even the case's number.
        middle = batch["image"][0, margin:-margin, margin:-margin, margin:-margin]
        assert (middle[..., 0] == 1).all()
        middles |= set(middle[..., 1].ravel().tolist())
    assert len(middles) == np.prod(case.shape)


def test_every_case_comes_once_an_epoch_in_changing_order(cases):
    order = subjects(take(batches_of(cases, batch=1), 20))
    epochs = [tuple(order[i : i + 5]) for i in range(0, 20, 5)]
    assert all(sorted(epoch) == [1, 2, 3, 4, 5] for epoch in epochs)
    assert len(set(epochs)) > 1


def test_a_case_is_cropped_anew_in_each_epoch(cases):
    batches = take(batches_of(cases[:1], batch=1, foreground=0.0), 30)
    corners = {float(batch["image"][0, 0, 0, 0, 1]) for batch in batches}
    assert len(corners) > 10


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_fewer_cases_than_the_batch_and_volumes_smaller_than_the_patch(tmp_path, threads):
    case = make_case(tmp_path, 1, shape=(3, 8, 2))
    iterator = batches_of([case], batch=3, threads=threads)
    for batch in take(iterator, 3):
        assert batch["image"].shape == (3, 4, 5, 3, 2)
        # Rows of padding: one in depth, one in width.
        assert (batch["image"][..., 0] == 1).sum(axis=(1, 2, 3)).tolist() == [3 * 5 * 2] * 3
    iterator.close()


def test_the_seed_decides_and_threads_do_not(cases):
    reference = take(batches_of(cases), 8)
    threaded = batches_of(cases, threads=3)
    assert_same(take(threaded, 8), reference)
    threaded.close()
    other = take(batches_of(cases, seed=8), 8)
    pairs = zip(reference, other, strict=True)
    assert any(not np.array_equal(a["image"], b["image"]) for a, b in pairs)


@pytest.mark.parametrize("threads", [0, 2])
def test_resuming_gives_identical_batches(cases, threads):
    first = batches_of(cases, threads=threads)
    take(first, 3)
    # Through JSON, as a checkpoint keeps it.
    state = json.loads(json.dumps(first.get_state()))
    expected = take(first, 5)
    resumed = batches_of(cases, threads=threads)
    take(resumed, 1)
    resumed.set_state(state)
    assert_same(take(resumed, 5), expected)
    first.close()
    resumed.close()


def test_processes_share_the_batches_of_one(cases):
    together = take(batches_of(cases, batch=4), 6)
    shares = [take(batches_of(cases, batch=4, process=p, processes=2), 6) for p in range(2)]
    for whole, *parts in zip(together, *shares, strict=True):
        assert [len(part["image"]) for part in parts] == [2, 2]
        for p, part in enumerate(parts):
            np.testing.assert_array_equal(part["image"], whole["image"][p::2])
            np.testing.assert_array_equal(part["label"], whole["label"][p::2])


def test_more_processes_than_cases(cases):
    for process in range(3):
        iterator = batches_of(cases[:1], batch=3, process=process, processes=3)
        assert subjects(take(iterator, 2)) == [1, 1]


@pytest.mark.parametrize("processes, threads", [(1, 0), (2, 2), (4, 0)])
def test_resuming_on_other_processes_goes_on_with_the_same_crops(cases, processes, threads):
    first = batches_of(cases, batch=4, processes=2, process=1)
    take(first, 3)
    state = json.loads(json.dumps(first.get_state()))
    expected = take(batches_of(cases, batch=4), 6)[3:]
    parts = []
    for process in range(processes):
        resumed = batches_of(cases, batch=4, processes=processes, process=process, threads=threads)
        resumed.set_state(state)
        parts.append(take(resumed, 3))
        resumed.close()
    for whole, *shares in zip(expected, *parts, strict=True):
        for name in ("image", "label"):
            together = np.concatenate([share[name] for share in shares])
            assert sorted(a.tobytes() for a in together) == sorted(a.tobytes() for a in whole[name])


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize(
    "name, damage",
    [
        ("image", "missing"),
        ("label", "missing"),  # without foreground-2 it would be a case without this class
        *itertools.product(
            ("image", "label", "foreground-2"), ("truncated", "empty", "of another shape")
        ),
    ],
)
def test_an_unreadable_entry_names_the_case_and_the_file(cases, threads, name, damage):
    iterator = batches_of(cases, threads=threads, foreground=1.0)
    take(iterator, 1)  # the threads are at work
    file = cases[2].folder / f"{name}.npy"
    if damage == "missing":
        file.unlink()
    else:
        # In the file's place: who cuts short what a thread has mapped ends the process.
        other = file.with_name("other.npy")
        if damage == "of another shape":
            np.save(other, np.zeros((3, 3, 3, 2), np.uint8))
        else:
            other.write_bytes(file.read_bytes()[: 50 if damage == "truncated" else 0])
        other.replace(file)
    with pytest.raises(UserError, match=f"^case subject-3: .*entry-3/{name}.npy cannot be read"):
        take(iterator, 20)
    iterator.close()


def test_a_reading_thread_that_fails_otherwise_says_so_in_its_own_words(cases, monkeypatch):
    def full(*_):
        raise MemoryError("no room for the crop")

    monkeypatch.setattr("invseg_jax.data.batches.pipeline.crop", full)
    iterator = batches_of(cases, threads=2)
    with pytest.raises(MemoryError, match="no room for the crop") as caught:
        take(iterator, 1)
    assert "subject-" in caught.value.__notes__[0]
    iterator.close()


def test_crops_are_never_centred_on_voxels_that_nobody_labelled(tmp_path):
    shape = (20, 20, 20)
    case = make_case(tmp_path, 1, shape=shape, label=False)
    label = np.zeros(shape, np.uint8)
    label[10:] = IGNORED
    label[3, 4, 5] = 2
    np.save(case.folder / "label.npy", label)
    np.save(case.folder / "foreground-2.npy", np.array([(3, 4, 5)], np.int32))
    for batch in take(batches_of([case], foreground=1.0), 20):
        assert (batch["label"][:, 2, 2, 1] == 2).all()
    # They come along where a crop reaches them.
    reached = take(batches_of([case], foreground=0.0), 20)
    assert {IGNORED, 0} <= {int(v) for batch in reached for v in np.unique(batch["label"])}


def test_a_patch_larger_than_a_sparsely_annotated_volume_has_no_labels_around_it(tmp_path):
    case = make_case(tmp_path, 1, shape=(3, 4, 3))
    patch = (5, 6, 5)
    (dense,) = take(batches_of([case], patch=patch), 1)
    assert (dense["label"] == IGNORED).sum() == 0
    label = np.load(case.folder / "label.npy")
    label[0] = IGNORED
    np.save(case.folder / "label.npy", label)
    (sparse,) = take(batches_of([case], patch=patch), 1)
    np.testing.assert_array_equal(sparse["label"][:, 1:4, 1:5, 1:4], np.stack([label] * 2))
    assert (sparse["label"] != IGNORED).sum() == 2 * 24


def test_cases_without_label_are_named_at_once(tmp_path):
    cases = [make_case(tmp_path, 1), make_case(tmp_path, 2, label=False)]
    with pytest.raises(UserError, match="subject-2"):
        batches_of(cases)


def test_patches_that_do_not_divide_are_refused(cases):
    for wrong in ({"batch": 3}, {"batch": 2, "patches": 5}, {"patches": 0}):
        with pytest.raises(UserError, match="patches a step do not divide among 2 process") as told:
            batches_of(cases, processes=2, **wrong)
        assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match="process 2 of 2"):
        batches_of(cases, process=2, processes=2)


def test_more_patches_than_a_batch_are_those_of_a_larger_batch(cases):
    assert_same(take(batches_of(cases, patches=6), 4), take(batches_of(cases, batch=6), 4))


def test_no_cases_are_refused():
    with pytest.raises(UserError, match="no training cases"):
        batches_of([])


def test_the_largest_seed_works(cases):
    assert len(take(batches_of(cases, seed=2**32 - 1), 12)) == 12
