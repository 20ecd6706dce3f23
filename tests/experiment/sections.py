"""What holds of every section of an experiment, whatever its settings are."""

import json
from typing import Any

import pytest
from hypothesis import strategies as st

from invseg_jax.errors import UserError
from invseg_jax.experiment import Experiment
from invseg_jax.experiment.section import Section
from invseg_jax.experiment.stored import from_json, to_json
from invseg_jax.experiment.values import annotations, fitted

# What a JSON file may hold in the place of a value.
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 70_000)
    | st.floats(allow_nan=True)
    | st.sampled_from(["", "linear", "ct", "msd", "a\nb"])
)
ANYTHING = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)


def assert_typed(section: Section) -> None:
    """Asserts that every value has its declared type: brought to it once more, it is the same."""
    for name, annotation in annotations(type(section)).items():
        value = getattr(section, name)
        again = fitted(annotation, value, name)
        assert again == value and type(again) is type(value), name
        if isinstance(value, Section):
            assert_typed(value)


def through_json(section: Section) -> Section:
    """A section of an experiment, written into a file and read from it."""
    path = [part for part in section.KEY.split(".") if part]
    text = json.dumps(Experiment().changed({section.KEY: section}).to_json(), allow_nan=False)
    found: Any = from_json(json.loads(text))
    for part in path:
        found = getattr(found, part)
    return found


def assert_written_and_read(section: Section) -> None:
    """Asserts that a section, and its hash, come back from a file as they were."""
    again = through_json(section)
    assert again == section and hash(again) == hash(section)
    assert_typed(again)


def refusal(cls: type[Section], **values: Any) -> str:
    """What a section says of wrong values: one line."""
    with pytest.raises(UserError) as caught:
        cls(**values)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 300
    return said


def assert_right_or_refused(cls: type[Section], name: str, value: Any) -> None:
    """Asserts that a value is brought to its type, or refused by the setting's name.

    Args:
        cls: the section.
        name: of the setting.
        value: whatever a file may hold.
    """
    try:
        section = cls(**{name: value})
    except UserError as error:
        said = str(error)
        assert said.startswith(f"{cls.named(name)} is ") or f"{cls.named(name)}[" in said, said
        assert "\n" not in said
    else:
        assert_typed(section)
        json.dumps(to_json(section))


def names(cls: type[Section]) -> st.SearchStrategy[str]:
    """The settings of a section, without the sections inside it."""
    kinds = annotations(cls)
    return st.sampled_from(
        [name for name, kind in kinds.items() if not isinstance(getattr(cls, name), Section)]
    )
