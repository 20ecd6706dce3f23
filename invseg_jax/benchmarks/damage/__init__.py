"""Damage to what is on disk, and what becomes of it: `python -m invseg_jax.benchmark damage`."""
