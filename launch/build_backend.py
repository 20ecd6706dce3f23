"""Builds the package: setuptools, with the viewer of the page packed into wheels.

No commit holds NiiVue. A wheel does, so that whoever installs it needs no npm. Where it cannot be
fetched, the wheel is built without it, and the page fetches it when it is first opened.
"""

import sys
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the hooks that need no change

ROOT = Path(__file__).resolve().parent.parent


def build_wheel(
    wheel_directory: str,
    config_settings: dict[str, str | list[str] | None] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """Fetches the viewer, where it is not there yet, and builds a wheel."""
    _pack_viewer()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def _pack_viewer() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from invseg_jax.errors import UserError
        from invseg_jax.interactive.page import viewer_file

        if not viewer_file.PACKED.is_file():
            viewer_file.fetch(viewer_file.PACKED)
    except (UserError, OSError) as error:
        print(f"the wheel is built without the page's viewer: {error}", file=sys.stderr)
    finally:
        sys.path.remove(str(ROOT))
