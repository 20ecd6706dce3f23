"""Invertible networks for volumetric segmentation: activation memory that does not grow with depth.

This module imports nothing, so that `invseg_jax.reversible` can be used with JAX alone and the
command lines can print their help without waiting for JAX to load.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
