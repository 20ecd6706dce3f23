"""The algebra of invertible layers, in pure JAX: it knows nothing of images or of Flax.

A layer is three functions over pytrees (`layer.Layer`); layers compose to layers; `run` puts one
gradient rule around the largest composition.
"""

from invseg_jax.reversible.composition import Chain, Inverse, Level, Split, Tap, u_shape
from invseg_jax.reversible.coupling import AdditiveCoupling
from invseg_jax.reversible.gradient import Memory, check_memory, run
from invseg_jax.reversible.layer import Layer
from invseg_jax.reversible.orthogonal import Orthogonal, cayley, learned_down, learned_up
from invseg_jax.reversible.squeeze import Halve, Squeeze, depth_to_space, space_to_depth

__all__ = [
    "AdditiveCoupling",
    "Chain",
    "Halve",
    "Inverse",
    "Layer",
    "Level",
    "Memory",
    "Orthogonal",
    "Split",
    "Squeeze",
    "Tap",
    "cayley",
    "check_memory",
    "depth_to_space",
    "learned_down",
    "learned_up",
    "run",
    "space_to_depth",
    "u_shape",
]
