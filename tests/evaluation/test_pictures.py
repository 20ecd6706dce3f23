"""Pictures, read back from the PNG: orientation, proportions, odd input, no warnings."""

from typing import Any

import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy import ndimage

from invseg_jax.evaluation import pictures
from invseg_jax.evaluation.pictures import foreground_centre, overlay

SHAPE = (20, 24, 16)


def bright(shape=SHAPE):
    """White but for an edge, so that each cut can be found in the picture."""
    image = np.full(shape, 2.0, np.float32)
    image[0] = 1.0
    return image


def panels(path):
    """The cuts in a picture as arrays, row by row, found by their being large and not black."""
    picture = imread(path)[..., :3]
    found, count = ndimage.label(picture.max(axis=-1) > 0.4)  # type: ignore[misc]
    boxes = [
        b
        for b in ndimage.find_objects(found, count)
        if np.prod([s.stop - s.start for s in b]) > 5000
    ]
    boxes.sort(key=lambda b: (round(b[0].start / 20), b[1].start))
    return [picture[b] for b in boxes]


def tint_centre(panel):
    """Centre of the blue (first class) pixels as fractions (down, right) of the panel."""
    blue = panel[..., 2] - panel[..., 0] > 0.2
    assert blue.any()
    return np.array(ndimage.center_of_mass(blue)) / blue.shape


def test_front_and_up_are_at_the_top_and_the_first_axis_runs_to_the_right(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[13:18, 18:22, 11:14] = 1  # right, front, up
    overlay(
        tmp_path / "p.png",
        image=bright(),
        prediction=labels,
        truth=None,
        classes=("background", "lesion"),
    )
    cuts = panels(tmp_path / "p.png")
    assert len(cuts) == 6  # three planes, image and prediction
    for plain in cuts[::2]:
        assert np.ptp(plain, axis=-1).max() < 0.01  # the image alone is grey
    right, front, up = 15.5 / 20, 20 / 24, 12.5 / 16
    expected = [(1 - front, right), (1 - up, right), (1 - up, front)]
    for panel, where in zip(cuts[1::2], expected, strict=True):
        np.testing.assert_allclose(tint_centre(panel), where, atol=0.05)


def test_truth_stands_between_image_and_prediction(tmp_path):
    truth, prediction = np.zeros((2, *SHAPE), np.uint8)
    truth[4:16, 4:20, 2:14] = 1
    prediction[4:16, 4:20, 2:14] = 2
    overlay(
        tmp_path / "p.png",
        image=bright(),
        prediction=prediction,
        truth=truth,
        classes=("background", "a", "b"),
        title="case 1",
    )
    cuts = panels(tmp_path / "p.png")
    assert len(cuts) == 9
    for image, true, predicted in zip(cuts[::3], cuts[1::3], cuts[2::3], strict=True):
        centre = np.array(image.shape[:2]) // 2
        red, _, blue = true[tuple(centre)]
        assert blue - red > 0.2
        red, _, blue = predicted[tuple(centre)]
        assert red - blue > 0.2
        assert np.ptp(image[tuple(centre)]) < 0.01


def test_proportions_follow_the_spacing(tmp_path):
    spacing = (1.0, 0.5, 3.0)
    overlay(
        tmp_path / "p.png",
        image=bright(),
        prediction=np.ones(SHAPE, np.uint8),
        truth=None,
        classes=("background", "a"),
        spacing=spacing,
    )
    size = np.array(SHAPE) * spacing
    ratios = [p.shape[0] / p.shape[1] for p in panels(tmp_path / "p.png")[1::2]]
    expected = [size[1] / size[0], size[2] / size[0], size[2] / size[1]]
    np.testing.assert_allclose(ratios, expected, rtol=0.06)


def oblique_ras_volume():
    """Image, labels and affine in RAS, turned a little and of unequal voxels, alike nowhere."""
    rng = np.random.default_rng(2)
    image = rng.uniform(1, 2, SHAPE).astype(np.float32)
    labels = np.zeros(SHAPE, np.int16)
    labels[11:18, 14:22, 9:14] = 1
    labels[4:9, 3:8, 2:6] = 2
    turn = np.linalg.qr(np.eye(3) + 0.2 * rng.normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * np.sign(np.diag(turn)) @ np.diag([1.0, 0.8, 2.0])
    affine[:3, 3] = (-30.0, 12.0, 5.0)
    assert nib.aff2axcodes(affine) == ("R", "A", "S")
    return image, labels, affine


@pytest.mark.parametrize("axes", ["LPS", "PIR", "SLA", "ASL", "IRP"])
def test_the_files_axes_do_not_matter_where_the_affine_is_known(axes, tmp_path):
    image, labels, affine = oblique_ras_volume()
    turn: Any = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(axes)
    )
    stored = nib.Nifti1Image(image, affine).as_reoriented(turn)
    stored_labels = nib.Nifti1Image(labels, affine).as_reoriented(turn)
    assert nib.aff2axcodes(stored.affine) == tuple(axes)
    names = ("background", "a", "b")
    ras, other = tmp_path / "ras.png", tmp_path / "other.png"
    overlay(ras, image=image, prediction=labels, truth=None, classes=names, affine=affine)
    overlay(
        other,
        image=np.asarray(stored.dataobj),
        prediction=np.asarray(stored_labels.dataobj),
        truth=None,
        classes=names,
        affine=stored.affine,
    )
    slice_numbers = 54  # pixels at the left; the numbers are the file's own and do differ
    np.testing.assert_array_equal(imread(other)[:, slice_numbers:], imread(ras)[:, slice_numbers:])


def drawn(monkeypatch, **arguments) -> Figure:
    figures = []
    monkeypatch.setattr(pictures, "save_png", lambda figure, path: figures.append(figure))
    overlay("", truth=None, classes=("background", "a"), **arguments)
    return figures[0]


def test_slices_are_numbered_and_sides_named_as_in_the_file(monkeypatch):
    image, labels = bright((30, 30, 30)), np.zeros((30, 30, 30), np.uint8)
    labels[7, 11, 22] = 1
    # The file's axes run up, to the left and back.
    affine = np.array([[0, -1, 0, 9], [0, 0, -1, 4], [1, 0, 0, 7], [0, 0, 0, 1]], np.float64)
    assert nib.aff2axcodes(affine) == ("S", "L", "P")
    figure = drawn(monkeypatch, image=image, prediction=labels, affine=affine)
    texts = [text.get_text() for text in figure.texts]
    assert texts[:3] == ["axial, slice 7", "coronal, slice 22", "sagittal, slice 11"]
    letters = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert letters == [["L", "R"], [], ["L", "R"], [], ["P", "A"], []]

    figure = drawn(monkeypatch, image=image, prediction=labels)
    texts = [text.get_text() for text in figure.texts]
    assert texts[:3] == ["axial, slice 22", "coronal, slice 11", "sagittal, slice 7"]
    assert not any(axes.texts for axes in figure.axes)  # nobody knows where the right is


def test_an_axis_without_a_direction_is_refused(tmp_path):
    zeros = np.zeros((5, 6, 7), np.int16)
    with pytest.raises(ValueError, match="affine"):
        overlay(
            tmp_path / "p.png",
            image=zeros,
            prediction=zeros,
            truth=None,
            classes=("background",),
            affine=np.diag([1.0, 0.0, 1.0, 1.0]),
        )


def test_ground_of_a_z_score_is_black(tmp_path):
    rng = np.random.default_rng(0)
    image = np.zeros((24, 24, 24), np.float32)
    image[6:18, 6:18, 6:18] = rng.normal(size=(12, 12, 12))
    overlay(
        tmp_path / "p.png",
        image=image,
        prediction=(image != 0).astype(np.uint8) * 0,
        truth=None,
        classes=("background", "a"),
    )
    picture = imread(tmp_path / "p.png")[..., :3]
    # Without the rule all three cuts would be mid-grey where the z-score is 0.
    assert np.mean(picture.max(axis=-1) < 0.02) > 0.7


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((1, 1, 1), ["a"]),
        ((3, 200, 2), ["a"]),
        ((17, 9, 11), []),
        ((9, 9, 9), ["$x", "_hidden", "a_{b$", "核", "<b>"]),
        ((9, 9, 9), [f"class number {i}" for i in range(30)]),
    ],
)
def test_odd_input_is_drawn(tmp_path, shape, names):
    rng = np.random.default_rng(1)
    image = rng.normal(size=shape).astype(np.float32)
    image.flat[0] = np.nan
    labels = rng.integers(0, len(names) + 1, shape).astype(np.uint8)
    overlay(
        tmp_path / "p.png",
        image=image,
        prediction=labels,
        truth=np.zeros(shape, np.int64),
        classes=("background", *names),
        title="_$title",
    )
    height, width = imread(tmp_path / "p.png").shape[:2]
    assert 100 < height < 4000
    assert 100 < width < 4000
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]


def test_all_zero_image_is_drawn(tmp_path):
    zeros = np.zeros((5, 6, 7), np.int16)
    overlay(tmp_path / "p.png", image=zeros, prediction=zeros, truth=zeros, classes=("background",))
    assert imread(tmp_path / "p.png").size


def test_shapes_must_agree(tmp_path):
    image = np.zeros((5, 6, 7), np.float32)
    with pytest.raises(ValueError, match="prediction"):
        overlay(
            tmp_path / "p.png",
            image=image,
            prediction=np.zeros((5, 6, 8), int),
            truth=None,
            classes=("background", "a"),
        )
    assert not (tmp_path / "p.png").exists()


def test_centre_lies_in_the_foreground():
    shell = np.zeros((11, 11, 11), np.uint8)
    shell[2:9, 2:9, 2:9] = 1
    shell[4:7, 4:7, 4:7] = 0
    assert shell[foreground_centre(shell)] == 1
    assert foreground_centre(np.zeros((4, 5, 6))) == (2, 2, 3)
    box = np.zeros((9, 9, 9))
    box[2:5, 4:7, 6:9] = 3
    assert foreground_centre(box) == (3, 5, 7)
