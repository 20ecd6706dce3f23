"""Where a figure was measured: versions, device, processor."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from invseg_jax import __version__
from invseg_jax.devices.virtual_devices import cores


def environment() -> dict[str, str | int | None]:
    """What has to be known of the machine to compare its figures with others'."""
    device = jax.devices()[0]
    return {
        "invseg_jax": __version__,
        "jax": jax.__version__,
        "jaxlib": _version("jaxlib"),
        "flax": _version("flax"),
        "torch": _version("torch"),
        "python": platform.python_version(),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processor": _processor(),
        "cores": cores(),
    }


def heading(where: dict[str, str | int | None]) -> str:
    """The same in one line."""
    torch = f", torch {where['torch']}" if where["torch"] else ""
    return (
        f"jax {where['jax']}, flax {where['flax']}{torch}, Python {where['python']}; "
        f"{where['devices']} x {where['device']} ({where['platform']}), "
        f"{where['processor']}, {where['cores']} cores"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name; the architecture where the system does not tell it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
