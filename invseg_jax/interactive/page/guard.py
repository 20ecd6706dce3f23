"""Who may talk to the server: this machine's page, with the token that the terminal shows.

A page of another site can make a browser send requests to 127.0.0.1, and a name of another site can
be made to point there. So the host and the origin must be the server's own, and each call carries
a token in a header, which no other site knows and no form can send. Cookies are not used: a browser
sends them to every port of a machine.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN = "x-invseg-token"
# The page runs and loads what this server gives it, and nothing else. NiiVue makes pictures and its
# font from data: and blob: addresses.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
Sent = Callable[[MutableMapping[str, object]], Awaitable[None]]


class Guard:
    """Refuses what does not come from the page, before the application sees it.

    Args:
        app: the application.
        hosts: the values of Host that are the server's own, as "127.0.0.1:8800".
        token: what every call under /api/ must carry.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str) -> None:
        """Keeps what it compares with."""
        self._app = app
        self._hosts = hosts
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403, or hands the request on."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page opens no WebSocket: unanswered, the server refuses it
        fault = self._fault(scope, Headers(scope=scope))
        if fault is None:
            await self._app(scope, receive, send_with_headers)
        else:
            await PlainTextResponse(fault, 403)(scope, receive, send_with_headers)

    def _fault(self, scope: Scope, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            return "this server answers under its own address alone"
        if origin is not None and origin != f"http://{host}":
            return "requests of other sites are refused"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            # A link to the page itself is allowed: without the token it shows nothing.
            if scope["path"] != "/" or headers.get("sec-fetch-mode") != "navigate":
                return "requests of other sites are refused"
        if scope["path"].startswith("/api/"):
            given = headers.get(TOKEN, "").encode("utf-8", "replace")
            if not secrets.compare_digest(given, self._token):
                return "the token is missing or wrong: open the address that the terminal shows"
        return None
