"""The names of the package itself, as a notebook uses them."""

import gc
import json
import logging
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

import invseg_jax as iv
from invseg_jax.data.volumes.nifti import volume_limit
from tests import tiny_run

CHANGES = tiny_run.TINY | {"optimiser.warmup": 1, "data.max_bytes": 1 << 20}


def state_of_the_process() -> dict[str, object]:
    return {
        "levels": {name: logging.getLogger(name).level for name in ("", "absl", "asyncio", "jax")},
        "filters": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "signals": [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)],
        "gc": gc.get_threshold(),
        "hook": sys.unraisablehook,
        "limit": volume_limit(),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("balls") / "data"
    tiny_run.write_balls(root)
    return root


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], dict]:
    """A run, what was said of it, and what training and evaluation left of the process."""
    workdir, said = tmp_path_factory.mktemp("run") / "run", []
    before = state_of_the_process()
    experiment = iv.read_experiment("hippocampus:cpu", CHANGES | {"model.settings.auxiliary": 1})
    assert iv.train(experiment, workdir, data, say=said.append) == workdir
    summary = iv.evaluate(workdir, say=said.append)
    assert state_of_the_process() == before
    return workdir, said, summary


def test_importing_loads_nothing():
    code = (
        "import sys, invseg_jax as iv; "
        "print([m for m in ('jax', 'numpy', 'flax', 'absl') if m in sys.modules], sorted(dir(iv)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded, _, names = done.stdout.partition("] ")
    assert loaded == "["
    assert "read_experiment" in names and "Segmenter" in names


def test_every_public_name_is_there():
    for name in iv.__all__:
        assert getattr(iv, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        iv.nothing  # noqa: B018


def test_a_command_of_the_same_name_hides_no_function():

    assert callable(iv.train) and callable(iv.evaluate)
    assert sys.modules["invseg_jax.train"].FLAGS


def test_an_error_of_the_user_is_a_value_error():
    with pytest.raises(ValueError, match='^data: Did you mean "patch" instead of "pach"'):
        iv.read_experiment("iseg:quick", {"data.pach": (8, 8, 8)})
    assert issubclass(iv.UserError, ValueError)


def test_an_experiment_is_read_by_its_shipped_name_and_by_its_path(repository: Path):
    shipped = iv.read_experiment("iseg:quick", {"data.patch": (32, 32, 32)})
    by_path = iv.read_experiment(f"{repository / 'configs' / 'iseg.py'}:quick")
    assert shipped == by_path.changed({"data.patch": (32, 32, 32)})
    assert shipped.data.patch == (32, 32, 32)


def test_training_tells_what_it_does_and_evaluation_gives_the_summary(trained):
    workdir, said, summary = trained
    assert any(line.startswith("step 4/4") for line in said)
    stored = json.loads((workdir / "eval" / "summary.json").read_text())
    assert summary["mean"] == stored["mean"]
    assert set(summary["mean"]["dice"]) == {"ball", "shell", "mean"}


def test_an_array_a_path_and_an_image_give_the_labels_of_predict(trained, data: Path, tmp_path):
    workdir, _, _ = trained
    segmenter = iv.load(workdir)
    assert segmenter.classes == ("background", "ball", "shell")
    file = data / "imagesTr" / "ball_001.nii.gz"
    subprocess.run(
        [sys.executable, "-m", "invseg_jax.predict", f"--workdir={workdir}"]
        + [f"--input={file}", f"--output={tmp_path}", "--nocompilation_cache"],
        check=True,
        capture_output=True,
    )
    wanted = tiny_run.load(tmp_path / "ball_001.nii.gz")
    image = tiny_run.load(file)
    array = np.asarray(image.dataobj)
    affine = np.asarray(image.affine)
    from_array = segmenter((array, affine))
    assert isinstance(from_array, np.ndarray) and from_array.dtype == np.uint8
    np.testing.assert_array_equal(from_array, np.asarray(wanted.dataobj))
    for given in (file, str(file), [file], image):
        made = segmenter(given)
        assert isinstance(made, nibabel.Nifti1Image)
        np.testing.assert_array_equal(np.asarray(made.dataobj), from_array)
        np.testing.assert_allclose(np.asarray(made.affine), np.asarray(wanted.affine))
        assert made.header["sform_code"] == wanted.header["sform_code"]


def test_an_image_in_other_axes_gives_the_same_labels_in_its_own_axes(trained, data: Path):
    segmenter = iv.load(trained[0])
    image = tiny_run.load(data / "imagesTr" / "ball_002.nii.gz")
    turned = nibabel.as_closest_canonical(image).slicer[::1]
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[0, 3] = turned.shape[0] - 1
    flipped = nibabel.Nifti1Image(np.asarray(turned.dataobj)[::-1].copy(), turned.affine @ mirror)
    straight, mirrored = segmenter(turned), segmenter(flipped)
    np.testing.assert_array_equal(np.asarray(straight.dataobj), np.asarray(mirrored.dataobj)[::-1])


def test_probabilities_lie_on_the_images_grid_and_decide_the_labels(trained, data: Path):
    segmenter = iv.load(trained[0])
    file = data / "imagesTr" / "ball_003.nii.gz"
    probabilities = segmenter.probabilities(file)
    shape = tiny_run.load(file).shape
    assert probabilities.shape == (*shape, 3) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, atol=1e-5)
    labels = np.asarray(segmenter(file).dataobj)
    np.testing.assert_array_equal(labels, np.asarray(segmenter.values)[probabilities.argmax(-1)])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ((np.zeros((4, 4)), np.eye(4)), r"give \(D, H, W, 1\)"),
        ((np.zeros((4, 4, 4, 2)), np.eye(4)), r"give \(D, H, W, 1\)"),
        ((np.zeros((4, 4, 4)), np.zeros((4, 4))), "affine: give"),
        ((np.full((4, 4, 4), np.nan), np.eye(4)), "NaN"),
        ("nowhere.nii.gz", "nowhere.nii.gz"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(trained, image, said: str):
    with pytest.raises(iv.UserError, match=said) as caught:
        iv.load(trained[0])(image)
    assert "\n" not in str(caught.value)


def test_errors_name_arguments_and_not_flags(trained, data: Path, tmp_path: Path):
    workdir, _, _ = trained
    with pytest.raises(iv.UserError, match=r"^data\.patch is \(0, 8, 8\); give three sizes"):
        iv.read_experiment("hippocampus:cpu", {"data.patch": (0, 8, 8)})
    other = iv.read_experiment("hippocampus:cpu", CHANGES | {"seed": 3})
    with pytest.raises(iv.UserError, match="another seed .* or another workdir$") as caught:
        iv.train(other, workdir, data, say=lambda _: None)
    assert "--" not in str(caught.value) and "config." not in str(caught.value)
    with pytest.raises(iv.UserError, match=r"config\.json is missing.*give the workdir"):
        iv.load(tmp_path)
    with pytest.raises(iv.UserError, match="needs data: the root of a data set"):
        iv.train(other, tmp_path / "new", say=lambda _: None)
