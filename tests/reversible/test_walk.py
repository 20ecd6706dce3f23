import dataclasses

import pytest

from invseg_jax.reversible import (
    AdditiveCoupling,
    Chain,
    FixedPoint,
    Float,
    Halve,
    Inverse,
    Layer,
    Repeat,
    Split,
    Squeeze,
    Tap,
    Tapped,
    arithmetic_of,
    each,
    replaced,
)


def branch(params, x, key):
    return x


coupling = AdditiveCoupling(branch)
inner = Chain((Inverse(Squeeze()), Halve(), Repeat(coupling, 3, scan=True)), ("a", "b", "c"))
whole = Chain((Split(1, inner), Tapped(coupling, (Tap("t"),))))


def test_every_layer_is_met_once_the_outer_ones_first():
    within = [Chain, Inverse, Squeeze, Halve, Repeat, AdditiveCoupling]
    expected = [Chain, Split, *within, Tapped, AdditiveCoupling, Tap]
    assert [type(layer) for layer in each(whole)] == expected


def test_what_is_replaced_stands_in_the_same_composition():
    fixed = AdditiveCoupling(branch, FixedPoint())

    def change(layer: Layer) -> Layer | None:
        return fixed if layer == coupling else None

    changed = replaced(whole, change)
    expected_inner = Chain((Inverse(Squeeze()), Halve(), Repeat(fixed, 3, scan=True)), inner.names)
    assert changed == Chain((Split(1, expected_inner), Tapped(fixed, (Tap("t"),))))
    assert replaced(whole, lambda layer: None) == whole
    assert arithmetic_of(changed) == FixedPoint()
    assert arithmetic_of(whole) == arithmetic_of(Squeeze()) == Float()


def test_taps_are_named_from_outside():
    assert whole.tap_names() == {"t"} and inner.tap_names() == frozenset()


def test_an_elementary_layer_has_no_parts():
    assert Squeeze().with_parts(()) == Squeeze()
    with pytest.raises(ValueError, match=r"^Squeeze is an elementary layer and has no parts$"):
        Squeeze().with_parts((Squeeze(),))


def test_a_layer_of_one_s_own_is_walked_through_its_parts():
    @dataclasses.dataclass(frozen=True)
    class Twice(Layer):
        layer: Layer

        @property
        def parts(self):
            return (self.layer,)

    assert arithmetic_of(Twice(AdditiveCoupling(branch, FixedPoint(3)))) == FixedPoint(3)
