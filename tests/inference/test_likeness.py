"""What is told of images that are unlike the training's, and what is not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invseg_jax.command import load_config
from invseg_jax.data.batches.source import labelled_cases
from invseg_jax.data.batches.split import hold_out
from invseg_jax.data.layouts import open_dataset
from invseg_jax.data.prepare.cache import CaseCache
from invseg_jax.data.prepare.loaded_case import LoadedCase, load_case
from invseg_jax.experiment import Preprocessing
from invseg_jax.inference.likeness import differences
from invseg_jax.inference.training_images import TrainingImages
from tests.inference.heads import MR, SHAPE, fingerprint, scan


def trained_on(
    settings: Preprocessing, cases: Sequence[LoadedCase], modalities: tuple[str, ...] = ("mr",)
) -> TrainingImages:
    return TrainingImages.of([fingerprint(settings, cases, modalities)])


def changed(case: LoadedCase, image: np.ndarray) -> LoadedCase:
    return replace(case, image=image.astype(np.float32))


CT = Preprocessing(normalisation=("ct",))


@pytest.mark.parametrize("settings", [MR, Preprocessing(normalisation=("z_score",)), CT])
@pytest.mark.parametrize("kind", ["mr", "ct", "pet"])
def test_images_of_the_same_kind_are_not_told(settings: Preprocessing, kind: str):
    training = trained_on(settings, [scan(seed, kinds=(kind,)) for seed in range(8)], (kind,))
    for seed in range(8, 16):
        case = scan(seed, kinds=(kind,), spacing=(1.1, 0.95, 1.8))
        assert differences(training, settings, case) == []
        # However it is stored.
        stored = scan(seed, kinds=(kind,), axes=(2, 0, 1))
        assert stored.image.shape == (16, 20, 24, 1)
        assert differences(training, settings, stored) == []


def test_another_spacing():
    training = trained_on(MR, [scan(k, spacing=(1, s, 2)) for k, s in enumerate((0.98, 1.02))])
    told = "spacing 1.5 mm along axis 0, in training 1 mm (beyond by more than a factor of 1.25)"
    assert differences(training, MR, scan(9, spacing=(1.5, 1, 2))) == [told]
    told = "spacing 3 mm along axis 1, in training 0.98 to 1.02 mm (beyond by more than a factor"
    case = scan(9, spacing=(1, 3, 2), shape=(20, 12, 16), axes=(1, 2, 0))
    (found,) = differences(training, MR, case)
    assert found.startswith(told)  # of the canonical axes, wherever the file has it
    (found,) = differences(training, MR, scan(9, spacing=(1, 1, 1.5)))
    assert found.startswith("spacing 1.5 mm along axis 2, in training 2 mm")
    assert differences(training, MR, scan(9, spacing=(1.2, 0.8, 2.4))) == []


def test_another_spacing_where_images_are_resampled():
    settings = Preprocessing(spacing=(1, 1, 1))
    training = trained_on(settings, [scan(k) for k in range(3)])
    for fine in ((0.5, 0.5, 1), (1.5, 1.5, 3)):
        shape = np.round(np.divide(np.multiply(SHAPE, (1, 1, 2)), fine)).astype(int).tolist()
        assert differences(training, settings, scan(9, spacing=fine, shape=shape)) == []
    coarse = scan(9, spacing=(1, 1, 5), shape=(20, 24, 6))
    assert differences(training, settings, coarse) == [
        "spacing 5 mm along axis 2, in training 2 mm (beyond by more than a factor of 2)"
    ]


def test_another_field_of_view():
    training = trained_on(MR, [scan(0), scan(1, shape=(30, 24, 16))])
    half = scan(9, shape=(10, 24, 16))
    assert differences(training, MR, half) == [
        "field of view 10 mm along axis 0, in training 20 to 30 mm (beyond by a factor of 2)"
    ]
    (found,) = differences(training, MR, scan(9, shape=(20, 24, 32)))
    assert found.startswith("field of view 64 mm along axis 2, in training 32 mm")
    assert differences(training, MR, scan(9, shape=(11, 47, 17))) == []


def test_the_field_of_view_is_that_of_the_crop():
    settings = Preprocessing(crop=True)
    training = trained_on(settings, [scan(k) for k in range(3)])
    case = scan(9)
    wide = changed(case, np.pad(case.image, ((30, 30), (0, 0), (0, 0), (0, 0))))
    assert differences(training, settings, wide) == []
    assert len(differences(training, MR, wide)) == 1


@pytest.mark.parametrize("settings", [MR, CT])
def test_a_ct_that_is_scaled_is_told(settings: Preprocessing):
    training = trained_on(settings, [scan(k, kinds=("ct",)) for k in range(4)], ("ct",))
    case = scan(9, kinds=("ct",))
    scaled = changed(case, (case.image + 1000) / 2000)
    sign, span = differences(training, settings, scaled)
    assert sign == "ct has no values below 0, which all training images had"
    factor = 2 if settings.measures else 10
    assert span.startswith("ct spans 0.") and f"by more than a factor of {factor})" in span
    # As scanners store it: 1024 higher.
    sign, *rest = differences(training, settings, changed(case, case.image + 1024))
    assert sign == "ct has no values below 0, which all training images had"
    assert bool(rest) == settings.measures
    if rest:
        assert rest[0].startswith("the 0.5 percentile of ct is 24, in training -1e+03")


def test_a_ct_of_another_window_is_told_where_its_scale_counts():
    training = trained_on(CT, [scan(k, kinds=("ct",)) for k in range(4)], ("ct",))
    case = scan(9, kinds=("ct",))
    bones = changed(case, np.where(case.image > 0, 3 * case.image, case.image))
    (found,) = differences(training, CT, bones)
    high = np.percentile(bones.image, 99.5)
    assert found.startswith(f"the 99.5 percentile of ct is {high:.3g}, in training ")
    assert differences(training, CT, changed(case, case.image + 50)) == []


def test_the_gain_of_an_mr_does_not_count_below_a_factor_of_ten():
    cases = [scan(k) for k in range(4)]
    training = trained_on(MR, cases)
    spans = [np.ptp(np.percentile(case.image, (0.5, 99.5))) for case in cases]
    case = scan(9)
    span = np.ptp(np.percentile(case.image, (0.5, 99.5)))
    for gain in (9 * max(spans) / span, min(spans) / 9 / span):
        assert differences(training, MR, changed(case, case.image * gain)) == []
    for gain in (11 * max(spans) / span, min(spans) / 11 / span):
        (found,) = differences(training, MR, changed(case, case.image * gain))
        assert found.startswith(f"mr spans {span * gain:.3g} from its 0.5 to its 99.5 percentile")
        assert f"in training {min(spans):.3g} to {max(spans):.3g} (beyond" in found


def test_values_below_zero():
    training = trained_on(MR, [scan(k) for k in range(4)])
    case = scan(9)
    normalised = (case.image - case.image.mean()) / case.image.std() * 200
    assert differences(training, MR, changed(case, normalised)) == [
        "mr has values below 0, which no training image had"
    ]
    # What splines leave beside an edge.
    overshoot = np.where(case.image == 0, -1.0, case.image)
    assert differences(training, MR, changed(case, overshoot)) == []


def test_exchanged_modalities_are_told_where_it_is_clear():
    kinds = ("mr", "pet")
    settings = Preprocessing(normalisation=("z_score_nonzero", "z_score_nonzero"))
    training = trained_on(settings, [scan(k, kinds=kinds) for k in range(6)], kinds)
    assert differences(training, settings, scan(9, kinds=kinds)) == []
    assert differences(training, settings, scan(9, kinds=("pet", "mr"))) == [
        "mr looks like the pet of the training",
        "pet looks like the mr of the training",
    ]
    # The same twice is no exchange.
    (found,) = differences(training, settings, scan(9, kinds=("mr", "mr")))
    assert found.startswith("pet spans")
    # Two images of MR, whose gains overlap, are not told.
    training = trained_on(settings, [scan(k, kinds=("mr", "mr")) for k in range(6)], ("t1", "t2"))
    case = scan(9, kinds=("mr", "mr"))
    assert differences(training, settings, changed(case, case.image[..., ::-1])) == []


@pytest.mark.parametrize("normalisation", ["ct", "z_score"])
def test_three_modalities_that_are_turned_round(normalisation: Any):
    kinds = ("ct", "mr", "pet")
    settings = Preprocessing(normalisation=(normalisation, "z_score", "z_score"))
    training = trained_on(settings, [scan(k, kinds=kinds) for k in range(6)], kinds)
    assert differences(training, settings, scan(9, kinds=("mr", "pet", "ct"))) == [
        "ct looks like the mr of the training",
        "mr looks like the pet of the training",
        "pet looks like the ct of the training",
    ]
    assert differences(training, settings, scan(9, kinds=("mr", "ct", "pet"))) == [
        "ct looks like the mr of the training",
        "mr looks like the ct of the training",
    ]


def test_orientation():
    oriented, not_oriented = (
        trained_on(MR, [scan(k, oriented=known) for k in range(2)]) for known in (True, False)
    )
    assert differences(oriented, MR, scan(9, oriented=False)) == [
        "its header does not say which side is left, those of the training images do"
    ]
    assert differences(not_oriented, MR, scan(9)) == [
        "its header says which side is left, those of the training images do not"
    ]
    assert differences(not_oriented, MR, scan(9, oriented=False)) == []
    mixed = trained_on(MR, [scan(0), scan(1, oriented=False)])
    for known in (True, False):
        assert differences(mixed, MR, scan(9, oriented=known)) == []


def test_constant_images_are_compared_too():
    training = trained_on(MR, [scan(k) for k in range(2)])
    (found,) = differences(training, MR, changed(scan(9), np.zeros((*SHAPE, 1))))
    assert found.startswith("mr spans 0 from its")
    blank = trained_on(MR, [changed(scan(k), np.zeros((*SHAPE, 1))) for k in range(2)])
    assert differences(blank, MR, changed(scan(9), np.zeros((*SHAPE, 1)))) == []
    assert len(differences(blank, MR, scan(9))) == 1


def test_several_runs_have_seen_what_each_of_them_has():
    one, other = (fingerprint(MR, [scan(0, spacing=(s, 1, 2))]) for s in (1.0, 2.0))
    case = scan(9, spacing=(2.2, 1, 2))
    assert len(differences(TrainingImages.of([one]), MR, case)) == 2
    assert differences(TrainingImages.of([one, other]), MR, case) == []


def test_a_run_of_an_earlier_version_has_no_intensities():
    earlier = replace(fingerprint(MR, [scan(0)]), whole=(), oriented=(), left_right=())
    training = TrainingImages.of([earlier])
    odd = changed(scan(9, oriented=False), -1e6 * scan(9).image)
    assert differences(training, MR, odd) == []
    assert len(differences(training, MR, scan(9, spacing=(1.5, 1, 2)))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hippocampus", "sarcoma"])
def test_real_scans_of_one_study_are_not_told(
    name: str, repository: Path, request: pytest.FixtureRequest, tmp_path: Path
):
    """Each fifth against the other four; then changed scans, which are."""
    data = load_config(str(repository / "configs" / f"{name}.py"), []).data
    root = request.getfixturevalue(name)
    dataset = open_dataset(data.layout, root, data.plain)
    settings, cache = data.preprocess, CaseCache(dataset, folder=tmp_path)
    cases = labelled_cases(dataset)
    loaded = {case.id: load_case(dataset, case) for case in cases[:: max(1, len(cases) // 40)]}
    told = []
    for fold in range(5):
        training, held_out = hold_out(cases, 5, fold)
        seen = TrainingImages.of([cache.fingerprint(training)])
        for case in (loaded[case.id] for case in held_out if case.id in loaded):
            if found := differences(seen, settings, case):
                told.append((case.id, found))
            wider = replace(case, affine=case.affine @ np.diag((1.5, 1.5, 1.5, 1)))
            assert sum(text.startswith("spacing") for text in differences(seen, settings, wider))
            scaled = changed(case, case.image / case.image.max())
            assert any("spans" in text for text in differences(seen, settings, scaled))
            if name == "sarcoma":
                exchanged = changed(case, case.image[..., ::-1])
                found = " ".join(differences(seen, settings, exchanged))
                assert "mr looks like the pet" in found and "pet looks like the mr" in found
    assert len(loaded) >= 37 and len(told) <= 1, told
