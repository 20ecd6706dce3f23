"""What `python -m invseg_jax.benchmark` measures: a table a file, each beside its alternatives.

They run on a bare GPU machine: JAX, Flax, optax and numpy are all they need. PyTorch is imported in
child processes only (`torch_networks`, `torch_worker`), and only where a table compares with it.
"""
