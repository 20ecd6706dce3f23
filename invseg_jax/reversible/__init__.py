"""The algebra of invertible layers, in pure JAX: it knows nothing of images or of Flax.

A layer is three functions over pytrees (`layer.Layer`); layers compose to layers; `run` puts one
gradient rule around the largest composition.
"""

from invseg_jax.reversible.arithmetic import Arithmetic, FixedPoint, Float, StraightThrough
from invseg_jax.reversible.composition import Chain, Inverse, Level, Repeat, Split, Tap, u_shape
from invseg_jax.reversible.coupling import AdditiveCoupling, InPlace, Onto
from invseg_jax.reversible.gradient import Memory, check_memory, run
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

__all__ = [
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
    "Onto",
    "Orthogonal",
    "Permutation",
    "Planes",
    "Repeat",
    "Split",
    "Squeeze",
    "StraightThrough",
    "Tap",
    "check_memory",
    "depth_to_space",
    "learned_down",
    "learned_up",
    "partition",
    "rotation",
    "run",
    "space_to_depth",
    "u_shape",
]
