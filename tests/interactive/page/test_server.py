import gzip
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from invseg_jax.errors import UserError
from invseg_jax.interactive.page.guard import TOKEN
from invseg_jax.interactive.prompts import from_json
from invseg_jax.interactive.session import Session
from tests.interactive.page.case import BOX, HOST, SHAPE, Page, read, write_image

SLICES, ROWS, COLUMNS = SHAPE[1], SHAPE[0], SHAPE[2]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page(write_image(tmp_path / "scan.nii.gz"), ("object", "other"))
    yield page
    page.method.go.set()
    page.desk.close()


def slices(page: Page, since: int = 0) -> dict[int, np.ndarray]:
    """The label map's slices that changed."""
    content = page.client.get(f"/api/slices?since={since}").content
    length = int.from_bytes(content[:4], "little")
    header = json.loads(content[4 : 4 + length])
    voxels = np.frombuffer(content[4 + length :], np.uint8).reshape(-1, ROWS, COLUMNS)
    return dict(zip(header["slices"], voxels, strict=True))


def test_a_prompt_segments_its_slice_then_is_carried_and_saved(page: Page, tmp_path: Path) -> None:
    first = page.state()
    assert first["shape"] == [SLICES, ROWS, COLUMNS] and first["spacing"] == [4.0, 1.5, 1.5]
    assert first["codes"] == ["I", "L", "A"] and not first["can_undo"]
    page.method.go.clear()
    at_once = page.do("prompt", prompt=BOX, index=4, label=1)
    assert at_once["job"]["what"] == "carrying" and at_once["labels"][0]["confirmed"] == [4]
    assert list(slices(page)) == [4]
    page.method.go.set()
    state = page.rest()
    assert state["labels"][0]["quality"][4] == 1.0 and state["labels"][0]["suggested"] == 0
    assert state["labels"][0]["prompts"] == {"4": [BOX]}
    assert sorted(slices(page)) == list(range(SLICES))
    assert 4 not in slices(page, at_once["revision"])  # only what changed since
    assert page.do("save")["saved"]
    saved, affine = read(tmp_path / "scan_label.nii.gz")
    assert saved.shape == SHAPE and np.array_equal(affine, read(tmp_path / "scan.nii.gz")[1])
    expected = Session(tmp_path / "scan.nii.gz", page.method, labels=("object", "other"))
    expected.prompt(from_json(BOX), 4, 1)
    assert np.array_equal(saved, expected.label_map())
    shown = np.stack([slices(page)[index] for index in range(SLICES)])
    assert np.array_equal(np.moveaxis(shown, 0, 1), saved)
    assert not page.do("confirm", index=8, label=1)["saved"]


def test_undo_takes_back_an_action_with_what_was_carried(page: Page) -> None:
    page.do("prompt", prompt=BOX, index=4, label=1)
    page.rest()
    carried = slices(page)
    state = page.do("undo")
    assert not any(voxels.any() for voxels in slices(page).values())
    assert state["can_redo"] and not state["can_undo"] and state["labels"][0]["confirmed"] == []
    page.do("redo")
    again = slices(page)
    assert {index: voxels.tolist() for index, voxels in again.items()} == {
        index: voxels.tolist() for index, voxels in carried.items()
    }
    page.do("clear", label=None)
    assert page.rest()["labels"][0]["confirmed"] == []


def test_labels_painting_confirming_and_carrying_later(page: Page) -> None:
    state = page.do("add_label", name=" third ")
    assert [layer["name"] for layer in state["labels"]] == ["object", "other", "third"]
    mask = np.zeros((ROWS, COLUMNS), bool)
    mask[2:5, 3:9] = True
    query = f"epoch={state['epoch']}&index=2&label=3&carry=0"
    answer = page.client.post(f"/api/paint?{query}", content=np.packbits(mask).tobytes())
    layer = answer.json()["labels"][2]
    assert layer["confirmed"] == [2] and len(layer["stale"]) == SLICES - 1
    assert np.array_equal(slices(page)[2] == 3, mask)
    page.do("carry", label=3)
    assert page.rest()["labels"][2]["stale"] == []
    assert page.do("confirm", index=7, label=3)["labels"][2]["confirmed"] == [2, 7]


def test_an_imported_label_map_brings_its_labels_along(page: Page, tmp_path: Path) -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[3:9, 2, 4:9], array[3:9, 5, 4:9] = 1, 4
    _, affine = read(tmp_path / "scan.nii.gz")
    path = tmp_path / "made.nii.gz"
    nib.save(nib.Nifti1Image(array, affine), path)
    epoch = page.state()["epoch"]
    send = f"/api/import?epoch={epoch}"
    state = page.client.post(send, content=path.read_bytes()).json()
    assert [layer["name"] for layer in state["labels"]] == ["object", "other", "label 3", "label 4"]
    page.rest()
    assert np.array_equal(page.desk.board.map, np.moveaxis(array, 1, 0))
    plain = gzip.decompress(path.read_bytes())
    assert page.client.post(send, content=plain).status_code == 200
    nib.save(nib.Nifti1Image(array[1:], affine), path)
    wrong = page.client.post(send, content=path.read_bytes())
    assert wrong.status_code == 400 and "does not fit" in wrong.json()["error"]
    assert page.client.post(send, content=b"no image").status_code == 400
    assert len(page.state()["labels"]) == 4


def test_the_image_travels_as_it_is(page: Page, tmp_path: Path) -> None:
    answer = page.client.get("/api/volume")
    assert answer.headers["x-epoch"] == page.state()["epoch"]
    sent = nib.Nifti1Image.from_bytes(answer.content)
    image, affine = read(tmp_path / "scan.nii.gz")
    turned = np.moveaxis(image, 1, 0).T
    got = np.asarray(sent.dataobj)
    step = np.ptp(turned) / 65535
    assert np.abs(got - turned).max() <= step and sent.get_data_dtype() == np.int16
    corner = affine @ [19, 8, 25, 1]
    assert np.allclose(np.asarray(sent.affine) @ [25, 19, 8, 1], corner)


@pytest.mark.parametrize("token", [None, "", "wrong", "a-tokenx", "ä"])
def test_a_wrong_token_is_refused(page: Page, token: str | None) -> None:
    headers = [(TOKEN.encode(), token.encode())] if token is not None else []
    page.client.headers.pop(TOKEN)
    for method, path in (("GET", "/api/state"), ("GET", "/api/volume"), ("POST", "/api/do")):
        assert page.client.request(method, path, headers=headers).status_code == 403
    assert page.client.get("/").status_code == 200  # the page itself holds nothing


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1:9999"},
        {"host": "127.0.0.1"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_are_refused(page: Page, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/api/state"), ("POST", "/api/cancel"), ("GET", "/")):
        answer = page.client.request(method, path, headers=headers)
        assert answer.status_code == 403, (method, path)
    own = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert page.client.post("/api/cancel", headers=own).status_code == 200


def test_every_answer_has_the_policy(page: Page) -> None:
    for path in ("/", "/static/main.js", "/api/state", "/static/none.js"):
        answer = page.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    ["/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/etc/passwd"],
)
def test_no_path_comes_from_the_page(page: Page, path: str) -> None:
    assert page.client.get(path).status_code == 404
    for case in ("../x", "/etc/passwd", "x.nii.gz", -1, 1, 1.0, True, None):
        answer = page.post("open", case=case)
        assert answer.status_code == 400 and "whole number" in answer.json()["error"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b"{",
        b'{"do": "undo", "do": "redo"}',
        b'{"do": NaN}',
        b'{"do": Infinity}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_object_of_json_is_refused(page: Page, text: bytes) -> None:
    answer = page.client.post("/api/do", content=text)
    assert answer.status_code == 400 and "\n" not in answer.json()["error"]


POINTS = [[5, 6], [14, 18]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"prompt": {"kind": "spell", "points": POINTS}}, "kind must be one of"),
        ({"prompt": {"points": POINTS}}, "kind must be one of"),
        ({"prompt": {"kind": "box", "points": POINTS, "path": "x"}}, "there is no 'path'"),
        ({"prompt": {"kind": "box", "points": [[5, 6]]}}, "2 points are needed"),
        ({"prompt": {"kind": "box", "points": "ab"}}, "points must be a list"),
        ({"prompt": {"kind": "box", "points": [[5, 6], [1e9, 2]]}}, "outside of the slice"),
        ({"prompt": {"kind": "box", "points": [[5, 6], ["1", 2]]}}, "no number"),
        ({"prompt": {"kind": "box", "points": [[5, 6], [True, 2]]}}, "no number"),
        ({"prompt": {"kind": "box", "points": [[5, 6], [1]]}}, "pair"),
        ({"prompt": {"kind": "box", "points": POINTS, "positive": 1}}, "positive"),
        ({"prompt": {"kind": "scribble", "points": POINTS, "radius": -1}}, "radius"),
        ({"prompt": {"kind": "scribble", "points": POINTS, "radius": 1e6}}, "radius"),
        ({"prompt": {"kind": "scribble", "points": POINTS, "radius": "1"}}, "radius"),
        ({"prompt": {"kind": "scribble", "points": [[1, 1]] * 10_001}}, "at most 10000"),
        ({"prompt": [1]}, "must be an object"),
        ({"index": 9}, "index must be a whole number from 0 to 8"),
        ({"index": -1}, "index"),
        ({"index": 1.5}, "index"),
        ({"index": "4"}, "index"),
        ({"index": True}, "index"),
        ({"label": 0}, "label must be a whole number from 1 to 2"),
        ({"label": 3}, "label"),
        ({"carry": "yes"}, "carry"),
        ({"file": "x"}, "unknown field 'file'"),
    ],
)
def test_a_prompt_is_checked(page: Page, values: dict[str, object], said: str) -> None:
    answer = page.post("prompt", **({"prompt": BOX, "index": 4, "label": 1} | values))
    assert answer.status_code == 400 and said in answer.json()["error"]
    assert not page.state()["can_undo"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_points_that_are_no_numbers_are_refused(page: Page, value: str) -> None:
    prompt = f'{{"kind": "click", "points": [[{value}, 2]]}}'
    epoch = page.state()["epoch"]
    text = f'{{"do":"prompt","epoch":"{epoch}","prompt":{prompt},"index":1,"label":1}}'
    assert page.client.post("/api/do", content=text).status_code == 400


@pytest.mark.parametrize("name", ["", " ", "x" * 61, "a\nb", "\u202e", 3, None, "object"])
def test_a_name_of_a_label_is_checked(page: Page, name: object) -> None:
    assert page.post("add_label", name=name).status_code == 400


def test_too_many_bytes_are_refused(page: Page) -> None:
    epoch = page.state()["epoch"]
    voxels = SLICES * ROWS * COLUMNS
    for path, most in (
        ("/api/do", 1 << 20),
        (f"/api/paint?epoch={epoch}&index=0&label=1", ROWS * COLUMNS // 8 + 1),
        (f"/api/import?epoch={epoch}", voxels * 8 + (1 << 16)),
    ):
        assert page.client.post(path, content=b" " * (most + 1)).status_code == 413

        def endless() -> Iterator[bytes]:  # whose length is not told
            for _ in range(100):
                yield b" " * (1 << 20)

        assert page.client.post(path, content=endless()).status_code == 413
    short = page.client.post(f"/api/paint?epoch={epoch}&index=0&label=1", content=b"x")
    assert short.status_code == 400 and "has 65 bytes" in short.json()["error"]


def test_a_second_tab_sees_the_same(page: Page) -> None:
    page.do("prompt", prompt=BOX, index=4, label=1)
    page.rest()
    other = page.client.get("/api/state", headers={"origin": f"http://{HOST}"}).json()
    assert other == page.state() and other["labels"][0]["confirmed"] == [4]
    # A tab that still shows another case changes nothing.
    answer = page.post("undo", epoch="another")
    assert answer.status_code == 409 and page.state()["can_undo"]


def test_one_change_at_a_time_and_the_state_is_told_meanwhile(page: Page) -> None:
    page.method.segment_go.clear()
    answers = []
    sent = threading.Thread(
        target=lambda: answers.append(page.post("prompt", prompt=BOX, index=4, label=1))
    )
    sent.start()
    assert page.method.begun.wait(30)
    assert page.state()["job"]["what"] == "segmenting"
    for action in ("undo", "save", "carry"):
        more = {"label": 1} if action == "carry" else {}
        refused = page.post(action, **more)
        assert refused.status_code == 409 and "not done yet" in refused.json()["error"]
    page.method.segment_go.set()
    sent.join(30)
    assert answers[0].status_code == 200
    page.rest()
    assert page.do("undo")["can_redo"]


def test_a_change_stops_carrying_which_then_begins_again(page: Page) -> None:
    page.method.go.clear()
    page.do("prompt", prompt=BOX, index=4, label=1)
    assert page.method.carrying.wait(30)
    later = threading.Thread(
        target=lambda: page.do("prompt", prompt=BOX | {"positive": False}, index=6, label=2)
    )
    later.start()
    threading.Event().wait(0.1)
    page.method.go.set()
    later.join(30)
    state = page.rest()
    # Both labels are carried: the one that was interrupted, too.
    assert [layer["stale"] for layer in state["labels"]] == [[], []]
    assert [layer["confirmed"] for layer in state["labels"]] == [[4], [6]]


def test_cancel_leaves_the_slice_and_carries_no_further(page: Page) -> None:
    page.method.go.clear()
    page.do("prompt", prompt=BOX, index=4, label=1)
    assert page.method.carrying.wait(30)
    assert page.client.post("/api/cancel").status_code == 200
    page.method.go.set()
    state = page.rest()
    assert state["labels"][0]["confirmed"] == [4] and len(state["labels"][0]["stale"]) == 8
    assert list(slices(page)) == [4]
    page.do("carry", label=1)
    assert page.rest()["labels"][0]["stale"] == []


def test_what_goes_wrong_while_carrying_is_told(page: Page) -> None:
    page.method.fault = RuntimeError("no such luck")
    page.do("prompt", prompt=BOX, index=4, label=1)
    state = page.rest()
    assert "no such luck" in state["error"] and state["labels"][0]["confirmed"] == [4]
    assert page.do("undo")["error"] is None


def test_a_folder_is_walked_through_and_each_case_keeps_its_session(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_image(tmp_path / f"{name}.nii.gz", seed=ord(name))
    page = Page(tmp_path)
    first = page.state()
    assert first["cases"] == ["a", "b"] and first["case"] == 0
    page.do("prompt", prompt=BOX, index=4, label=1)
    page.rest()
    page.do("save")
    second = page.do("open", case=1)
    assert second["case"] == 1 and second["epoch"] != first["epoch"] and not second["can_undo"]
    assert slices(page) == {}
    back = page.do("open", case=0)
    assert back["labels"][0]["confirmed"] == [4] and back["cases"] == ["a", "b"]
    assert back["saved"]  # the label map on the disk is the session's
    page.desk.close()


def test_a_label_map_that_is_there_is_where_a_new_session_begins(tmp_path: Path) -> None:
    image = write_image(tmp_path / "scan.nii.gz")
    array = np.zeros(SHAPE, np.uint8)
    array[3:9, 2, 4:9] = 2
    label = tmp_path / "scan_label.nii.gz"
    nib.save(nib.Nifti1Image(array, read(image)[1]), label)
    page = Page(image)
    assert [layer["name"] for layer in page.state()["labels"]] == ["object", "label 2"]
    assert np.array_equal(page.desk.board.map, np.moveaxis(array, 1, 0)) and page.state()["saved"]
    page.desk.close()
    del page
    anew = Page(image, anew=True)
    assert not anew.desk.board.map.any() and label.exists()
    anew.desk.close()


def test_a_label_map_of_another_image_is_not_replaced(tmp_path: Path) -> None:
    image = write_image(tmp_path / "scan.nii.gz")
    label = tmp_path / "scan_label.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), label)
    before = label.read_bytes()
    with pytest.raises(UserError, match="give another --label"):
        Page(image)
    assert label.read_bytes() == before and not (tmp_path / "scan_label.session.jsonl").exists()
