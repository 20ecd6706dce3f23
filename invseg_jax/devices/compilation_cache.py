"""Compiled programs are kept on disk: the second start of the same program does not compile.

An entry is machine code and runs as it is: whoever can write to the folder can run code here. So
the folder is made for its owner alone, and a folder that others own or may write to is refused.
Programs are compiled for one kind of processor, and several machines may share a home folder: each
kind of processor has a folder of its own.
"""

import contextlib
import hashlib
import os
import platform
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache as jax_cache

from invseg_jax.files.cache_folder import cache_root, is_kept, make_private
from invseg_jax.files.trusted_folder import why_distrusted

Say = Callable[[str], None]


def enable(wanted: bool = True, say: Say = print) -> None:
    """Keeps compiled programs; to be called before the first is compiled.

    They go to `cache_root()`, or where `JAX_COMPILATION_CACHE_DIR` says. A cache that cannot be
    used or trusted, or whose entries are damaged, costs a compilation and one line of text.

    Args:
        wanted: False turns the cache off, also one that the environment asks for.
        say: told in one line what is wrong with the cache.
    """
    if not wanted:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    named = jax.config.values["jax_compilation_cache_dir"]
    if named and "://" in named:
        return  # a bucket, which JAX reads and writes by itself
    root = Path(named) if named else cache_root(say)
    if not named and not is_kept():
        _turn_off()  # `cache_root` has said why
        return
    base = root if named else root / "compiled"
    folder = base if base.name == processor() else base / processor()
    fault = why_distrusted(folder, root)
    if not fault:
        try:
            make_private(folder, root)
        except OSError as error:
            say(f"no compilation cache: {folder} cannot be made ({error.strerror or error})")
            _turn_off()
            return
        # Where links lead may have changed, and another user may have been faster to make what was
        # missing: what counts is the very folder that JAX is given.
        folder, root = Path(os.path.realpath(folder)), Path(os.path.realpath(root))
        fault = why_distrusted(folder, root)
    if fault:
        say(
            f"no compilation cache: {fault}; take the rights of others away (chmod go-w) or delete "
            "it, or set JAX_COMPILATION_CACHE_DIR to a folder of your own"
        )
        _turn_off()
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # The many small programs before the first step, together, take as long as a middling one.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    _watch(folder, say)


def _turn_off() -> None:
    """Makes JAX forget the folder that the environment names, even if it is already in use."""
    jax.config.update("jax_enable_compilation_cache", False)
    jax.config.update("jax_compilation_cache_dir", None)
    jax_cache.reset_cache()


def processor() -> str:
    """A name for this kind of processor: "x86_64-0a1b2c3d", by its instruction sets."""
    lines: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            lines.setdefault(name.strip(), value)
    except OSError:
        pass  # not Linux
    sets = lines.get("flags") or lines.get("Features") or platform.processor()
    digest = hashlib.sha256(" ".join(sorted(sets.split())).encode()).hexdigest()
    return f"{platform.machine()}-{digest[:8]}"


_FAULT = r"Error (reading|writing) persistent compilation cache entry for '([^']*)'"


@dataclass
class _Watch:
    """Stands in for `warnings.showwarning`, by which JAX reports faults of its cache."""

    folder: Path
    say: Say
    before: Callable[..., Any]
    said: bool = False

    def __call__(self, message: Warning | str, *rest: Any, **named: Any) -> None:
        fault = re.match(_FAULT, str(message))
        if fault is None:
            self.before(message, *rest, **named)
            return
        if fault[1] == "reading":
            # JAX writes in place, so a killed process or a full disk leaves half an entry, and JAX
            # never overwrites an entry. The warning names the program alone: all its entries are
            # deleted. Where the folder can only be read, they stay and are passed over.
            with contextlib.suppress(OSError):
                for entry in self.folder.glob(f"{fault[2]}-*"):
                    entry.unlink(missing_ok=True)
        if not self.said:
            self.said = True
            reason = str(message).partition("': ")[2].partition("\n")[0]
            self.say(
                f"compilation cache {self.folder}: an entry of {fault[2]} could not be "
                f"{'read' if fault[1] == 'reading' else 'written'} ({reason}); going on without it"
            )


def _watch(folder: Path, say: Say) -> None:
    now = warnings.showwarning
    before = now.before if isinstance(now, _Watch) else now
    warnings.showwarning = _Watch(folder, say, before)
    warnings.filterwarnings("always", message=_FAULT)
