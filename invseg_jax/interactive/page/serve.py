"""Starts the server on this machine's own address, and opens the page."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence

import uvicorn

from invseg_jax.errors import UserError
from invseg_jax.interactive.page.cases import Case
from invseg_jax.interactive.page.desk import Desk
from invseg_jax.interactive.page.opening import Settings
from invseg_jax.interactive.page.server import application
from invseg_jax.interactive.page.viewer_file import viewer_file

HOST = "127.0.0.1"


def serve(
    cases: Sequence[Case],
    settings: Settings,
    *,
    port: int = 0,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serves the page until Ctrl-C.

    Args:
        cases: the images, at least one.
        settings: how sessions are begun.
        port: of 127.0.0.1; 0: a free one.
        browser: whether to open the page in the user's browser.
        say: told what a user should know, line by line; the address is one of the lines.

    Raises:
        UserError: the port is taken, the viewer cannot be fetched, or the image cannot be used.
    """
    viewer = viewer_file(say)
    with _listen(port) as listening:
        port = listening.getsockname()[1]
        desk = Desk(cases, settings, say)
        token = secrets.token_urlsafe(24)
        hosts = frozenset({f"{HOST}:{port}", f"localhost:{port}"})
        # The part after "#" stays in the browser: no log and no other server ever sees it.
        address = f"http://{HOST}:{port}/#token={token}"
        app = application(desk, viewer, hosts, token)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        say(f"annotate: {address}")
        say(f"label map: {desk.label_file} (Ctrl-C ends; every action is kept in {desk.log_file})")
        if browser and not _has_screen():
            say(
                "no screen here: run this on your own machine, with the name of this one, and open "
                f"the address there: ssh -N -L {port}:{HOST}:{port} NAME"
            )
        elif browser:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        try:
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            desk.close()


def _has_screen() -> bool:
    """Whether a browser can open a window; without one, some open in the terminal itself."""
    if sys.platform != "linux" or "BROWSER" in os.environ:
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _listen(port: int) -> socket.socket:
    """A socket that is bound before the image is read: two servers cannot take one port."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # whoever reads the address may call at once, and waits
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"port {port} of {HOST} cannot be used ({reason}); give another --port, or none"
        ) from error
    return listening
