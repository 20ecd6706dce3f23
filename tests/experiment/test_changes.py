"""Other values for settings, by dotted names."""

from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from invseg_jax.errors import UserError
from invseg_jax.experiment import DataSettings, EmbeddedSettings, ModelSettings, base_experiment
from invseg_jax.experiment.changes import changed_by_text
from invseg_jax.inference.network import build_model

BASE = base_experiment()


def test_a_change_gives_a_new_experiment_and_leaves_the_old_one():
    new = BASE.changed({"steps": 7, "optimiser.warmup": 3, "data.patch": [8, 8, 8]})
    assert (new.steps, new.optimiser.warmup, new.data.patch) == (7, 3, (8, 8, 8))
    assert (BASE.steps, BASE.optimiser.warmup) == (1000, 50)
    assert new.changed({"steps": 1000, "optimiser.warmup": 50, "data.patch": (64,) * 3}) == BASE
    with pytest.raises(AttributeError):
        BASE.steps = 3  # pyright: ignore
    assert BASE.changed({}) == BASE


def test_texts_are_read_by_the_type_of_their_setting():
    texts = {
        "data.preprocess.normalisation": "ct",
        "data.preprocess.spacing": "(1, 1.5, 3)",
        "data.cases": "007,008",
        "inference.mirror": "(True,False,True)",
        "optimiser.clip": "inf",
        "augment.flip": "None",
    }
    new = changed_by_text(BASE, texts)
    assert new.data.preprocess.normalisation == ("ct",)
    assert new.data.preprocess.spacing == (1.0, 1.5, 3.0)
    assert new.data.cases == ("007", "008")
    assert new.inference.mirror == (True, False, True)
    assert new.optimiser.clip == float("inf")
    assert new.augment.flip is None
    assert changed_by_text(BASE, {"data.preprocess.normalisation": "ct"}).data.preprocess.measures


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"augment.flp": "1"}, 'config.augment: Did you mean "flip" instead of "flp"?'),
        ({"stepz": "1"}, 'config: Did you mean "steps" instead of "stepz"?'),
        ({"model.settings.coupling": "1"}, 'Did you mean "couplings" instead of "coupling"?'),
        ({"inference.colour": "1"}, 'config.inference: there is no "colour"; there are overlap, '),
        ({"steps.more": "1"}, "config.steps has no settings in it; it is one value"),
        ({"model.name.more": "1"}, "config.model.name has no settings in it; it is one value"),
        ({"data": "1"}, "config.data is a section; give a setting in it"),
        ({"data.embedded": "None"}, "config.data.embedded is a section; give a setting in it"),
        ({"steps": "many"}, "config.steps is 'many', not a whole number"),
        ({"augment.flip": "0.5"}, "config.augment.flip is (0.5,); give 3 numbers"),
        ({"augment.flip": "()"}, "config.augment.flip is (); give 3 numbers"),
        ({"augment.flip": "(0.5,0.5)"}, "config.augment.flip is (0.5, 0.5); give 3 numbers"),
        (
            {"augment.flip": "(0.5,0.5,2)"},
            "config.augment.flip is (0.5, 0.5, 2.0); give a number between 0 and 1",
        ),
        ({"augment.noise": "(2.0, 1.0)"}, "config.augment.noise is (2.0, 1.0); give the lower"),
        ({"optimiser.clip": "0"}, "config.optimiser.clip is 0.0; it stops all training"),
        ({"model.memory": "plan"}, "config.model.memory is 'plan'; there are reversible, plain"),
        ({"precision": "half"}, "config.precision is 'half'; there are float32, bfloat16"),
        ({"steps": "20"}, "config.optimiser.warmup is 50; the run has only 20 steps: give fewer"),
        ({"": "1"}, 'config: there is no ""'),
        ({"data..patch": "1"}, 'config.data: there is no ""'),
    ],
)
def test_what_cannot_be_is_one_line(changes: dict[str, str], said: str):
    with pytest.raises(UserError) as caught:
        changed_by_text(BASE, changes)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_another_network_brings_its_own_defaults():
    """The order of the changes does not count."""
    wide = BASE.changed({"model.settings.channels": (8, 16), "model.memory": "remat"})
    assert wide.changed({"model.name": "UNet3D"}).model == ModelSettings("UNet3D")
    for changes in (
        {"model.name": "UNet3D", "model.settings.channels": "8,16,32"},
        {"model.settings.channels": "8,16,32", "model.name": "UNet3D"},
    ):
        assert changed_by_text(wide, changes).model.channels == (8, 16, 32)
    # The same network keeps what it has.
    assert wide.changed({"model.name": "FullInvRes"}) == wide
    with pytest.raises(UserError, match='no "couplings"; there are channels, groups, auxiliary'):
        wide.changed({"model.name": "UNet3D", "model.settings.couplings": 2})


@pytest.mark.parametrize(
    "change, said",
    [
        ({"model.name": "UNet4D"}, "UNet4D.*FullInvRes"),
        ({"model.settings.channels": (4, 12)}, r"\(4, 12\).*multiple of 8"),
        ({"model.settings.auxiliary": 9}, "auxiliary 9"),
    ],
)
def test_a_network_that_cannot_be_is_an_error_of_the_user(change: dict, said: str):
    with pytest.raises(UserError, match=f"^config.model: .*{said}.*$") as caught:
        build_model(BASE.changed(change), 1, 2)
    assert "\n" not in str(caught.value)


def test_a_whole_section_can_be_given():
    data = DataSettings(batch=3)
    assert BASE.changed({"data": data}).data is data
    with pytest.raises(UserError, match="config.data is 3, not a DataSettings"):
        BASE.changed({"data": 3})
    with pytest.raises(UserError, match="config.data.batch and a section that holds it are both"):
        BASE.changed({"data": data, "data.batch": 4})
    with pytest.raises(UserError, match="config.data and a setting in it are both given"):
        BASE.changed({"data.batch": 4, "data": data})


def test_a_section_that_is_not_there_begins_with_its_defaults():
    assert BASE.data.embedded is None
    found = changed_by_text(BASE, {"data.embedded.subjects": "3"}).data.embedded
    assert found == EmbeddedSettings(subjects=3)


def test_every_setting_can_be_changed_by_its_name():
    def names_below(section: Any, key: str = "") -> list[str]:
        names = []
        for field in fields(section):
            value = getattr(section, field.name)
            below = names_below(value, f"{key}{field.name}.") if is_dataclass(value) else []
            names += below or [f"{key}{field.name}"]
        return names

    names = names_below(BASE)
    assert {"seed", "data.preprocess.spacing", "model.settings.channels"} <= set(names)
    assert "data" not in names and len(set(names)) == len(names) > 80
    same: dict[str, Any] = {}
    for name in names:
        value: Any = BASE
        for part in name.split("."):
            value = getattr(value, part)
        same[name] = value
    assert BASE.changed(same) == BASE
