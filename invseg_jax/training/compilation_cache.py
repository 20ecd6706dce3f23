"""Compiled programs are kept on disk: the second start of the same program does not compile."""

import os

import jax

from invseg_jax.data.cache import cache_root


def enable() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX has been told another place.

    `JAX_COMPILATION_CACHE_DIR` names another folder, `JAX_ENABLE_COMPILATION_CACHE=0` turns it off.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_root() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
