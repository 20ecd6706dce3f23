"""The algebra of invertible layers, in pure JAX: it knows nothing of images or of Flax.

A layer is three functions over pytrees (`layer.Layer`); layers compose to layers; `run` puts one
gradient rule around the largest composition.
"""

from invseg_jax.reversible.arithmetic import Arithmetic, FixedPoint, Float, StraightThrough
from invseg_jax.reversible.chain import Chain, Repeat
from invseg_jax.reversible.composition import Inverse, Level, Split, Tap, Tapped, u_shape
from invseg_jax.reversible.coupling import Accumulator, AdditiveCoupling, InPlace
from invseg_jax.reversible.gradient import Memory, check_memory, invert, run
from invseg_jax.reversible.layer import Layer, Permutation
from invseg_jax.reversible.orthogonal import (
    Orthogonal,
    learned_down,
    learned_up,
    partition,
    rotation,
)
from invseg_jax.reversible.planes import Planes
from invseg_jax.reversible.squeeze import Halve, Join, Squeeze, depth_to_space, space_to_depth
from invseg_jax.reversible.walk import arithmetic_of, each, replaced

__all__ = [
    "Accumulator",
    "AdditiveCoupling",
    "Arithmetic",
    "Chain",
    "FixedPoint",
    "Float",
    "Halve",
    "InPlace",
    "Inverse",
    "Join",
    "Layer",
    "Level",
    "Memory",
    "Orthogonal",
    "Permutation",
    "Planes",
    "Repeat",
    "Split",
    "Squeeze",
    "StraightThrough",
    "Tap",
    "Tapped",
    "arithmetic_of",
    "check_memory",
    "depth_to_space",
    "invert",
    "learned_down",
    "learned_up",
    "each",
    "partition",
    "replaced",
    "rotation",
    "run",
    "space_to_depth",
    "u_shape",
]
