"""The server's addresses: the page's own files, and the calls under /api/.

    GET  /                    the page
    GET  /static/NAME         its files, of a fixed list
    GET  /api/state           the board, as JSON
    GET  /api/volume          the image, as NIfTI
    GET  /api/slices?since=R  the slices of the label map that changed after revision R
    POST /api/do              one action, as JSON: {"do": ..., "epoch": ..., ...}
    POST /api/paint           a slice set by hand; one bit a voxel
    POST /api/import          a label map, as NIfTI
    POST /api/cancel          stops carrying

An action is answered when it is done, with the board as it is then. While another action is done
the answer is 409; so it is where the page shows another case than the one that is open.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from invseg_jax.errors import UserError
from invseg_jax.interactive.page.board import Board
from invseg_jax.interactive.page.desk import Desk
from invseg_jax.interactive.page.guard import Guard
from invseg_jax.interactive.page.wire import Fields, pack_slices, read_object, unpack_mask
from invseg_jax.interactive.page.worker import Busy

STATIC = Path(__file__).resolve().parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MOST_JSON = 1 << 20
# A label map on the image's grid takes at most 8 bytes a voxel, and a header.
LABEL_BYTES, LABEL_HEADER = 8, 1 << 16
GZIP = b"\x1f\x8b"


class TooLarge(UserError):
    """Says that a request has more bytes than it may."""


class OtherCase(UserError):
    """Says that the page shows another case than the one that is open."""


def application(desk: Desk, viewer: Path, hosts: frozenset[str], token: str) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        desk: the session.
        viewer: the file of NiiVue.
        hosts: the values of Host that are the server's own, as "127.0.0.1:8800".
        token: what every call must carry.
    """
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in TYPES}
    files["niivue.umd.js"] = viewer
    calls = Calls(desk)
    routes = [
        Route("/", _file(files["index.html"])),
        *(Route(f"/static/{name}", _file(path)) for name, path in files.items()),
        Route("/api/state", calls.state),
        Route("/api/volume", calls.volume),
        Route("/api/slices", calls.slices),
        Route("/api/do", calls.do, methods=["POST"]),
        Route("/api/paint", calls.paint, methods=["POST"]),
        Route("/api/import", calls.import_labels, methods=["POST"]),
        Route("/api/cancel", calls.cancel, methods=["POST"]),
    ]
    statuses = {TooLarge: 413, Busy: 409, OtherCase: 409, UserError: 400}
    handlers = {kind: _refusal(status) for kind, status in statuses.items()}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), hosts, token)


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        return FileResponse(path, media_type=TYPES[path.suffix])

    return send


def _refusal(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, status)

    return answer


class Calls:
    """The calls under /api/.

    Args:
        desk: the session.
    """

    def __init__(self, desk: Desk) -> None:
        """Keeps the desk."""
        self._desk = desk

    async def state(self, request: Request) -> Response:
        """The board."""
        return self._answer(self._desk.board)

    async def volume(self, request: Request) -> Response:
        """The image of the open case; the header x-epoch says of which opening."""
        epoch, content = self._desk.volume
        return Response(content, media_type="application/octet-stream", headers={"x-epoch": epoch})

    async def slices(self, request: Request) -> Response:
        """The slices of the label map that changed after a revision."""
        since = request.query_params.get("since", "0")
        if not since.isascii() or not since.isdigit() or len(since) > 15:
            raise UserError("since must be a revision")
        board, indices, slices = self._desk.slices(int(since))
        header = {"epoch": board.epoch, "revision": board.revision, "slices": indices}
        body = await run_in_threadpool(pack_slices, header, slices)
        return Response(
            body, media_type="application/octet-stream", headers={"content-encoding": "gzip"}
        )

    async def do(self, request: Request) -> Response:
        """One action."""
        fields = Fields(read_object(await _body(request, MOST_JSON)))
        self._same_case(fields.values.get("epoch"))
        kind = fields.values.get("do")
        actions: Mapping[object, Callable[[Fields], Future[Board]]] = {
            "prompt": self._prompt,
            "confirm": self._confirm,
            "carry": self._carry,
            "clear": self._clear,
            "undo": lambda fields: self._plain(fields, self._desk.undo),
            "redo": lambda fields: self._plain(fields, self._desk.redo),
            "save": lambda fields: self._plain(fields, self._desk.save),
            "add_label": self._add_label,
            "open": self._open,
        }
        if not isinstance(kind, str) or kind not in actions:
            raise UserError(f"do must be one of {', '.join(map(str, actions))}")
        return await self._done(actions[kind](fields))

    async def paint(self, request: Request) -> Response:
        """A slice set by hand."""
        query = request.query_params
        self._same_case(query.get("epoch"))
        shape = self._desk.board.volume.shape
        mask = unpack_mask(await _body(request, shape[0] * shape[1] // 8 + 1), shape)
        values = {name: _whole(query.get(name)) for name in ("index", "label")}
        fields = Fields(values)
        carry = query.get("carry", "1") != "0"
        return await self._done(
            self._desk.paint(mask, self._index(fields), self._label(fields), carry=carry)
        )

    async def import_labels(self, request: Request) -> Response:
        """A label map on the image's grid."""
        self._same_case(request.query_params.get("epoch"))
        most = self._desk.board.volume.image.size * LABEL_BYTES + LABEL_HEADER
        body = await _body(request, most)
        ending = ".nii.gz" if body.startswith(GZIP) else ".nii"
        with tempfile.NamedTemporaryFile(prefix="import-", suffix=ending, delete=False) as file:
            path = Path(file.name)
            try:
                await run_in_threadpool(file.write, body)
            except OSError:
                path.unlink(missing_ok=True)
                raise
        try:
            future = self._desk.import_labels(path)
        except Busy:
            path.unlink(missing_ok=True)
            raise
        return await self._done(future)

    async def cancel(self, request: Request) -> Response:
        """Stops carrying."""
        self._desk.cancel()
        return self._answer(self._desk.board)

    def _prompt(self, fields: Fields) -> Future[Board]:
        fields.only("do", "epoch", "prompt", "index", "label", "carry")
        prompt = fields.prompt("prompt", self._desk.board.volume.shape)
        return self._desk.prompt(
            prompt, self._index(fields), self._label(fields), carry=fields.flag("carry", True)
        )

    def _confirm(self, fields: Fields) -> Future[Board]:
        fields.only("do", "epoch", "index", "label", "carry")
        return self._desk.confirm(
            self._index(fields), self._label(fields), carry=fields.flag("carry", True)
        )

    def _carry(self, fields: Fields) -> Future[Board]:
        fields.only("do", "epoch", "label")
        return self._desk.carry(self._label(fields))

    def _clear(self, fields: Fields) -> Future[Board]:
        fields.only("do", "epoch", "label")
        every = fields.values.get("label") is None
        return self._desk.clear(None if every else self._label(fields))

    def _add_label(self, fields: Fields) -> Future[Board]:
        fields.only("do", "epoch", "name")
        return self._desk.add_label(fields.text("name"))

    def _open(self, fields: Fields) -> Future[Board]:
        fields.only("do", "epoch", "case")
        return self._desk.open(fields.number("case", len(self._desk.cases)))

    def _plain(self, fields: Fields, action: Callable[[], Future[Board]]) -> Future[Board]:
        fields.only("do", "epoch")
        return action()

    def _index(self, fields: Fields) -> int:
        return fields.number("index", self._desk.board.volume.slices)

    def _label(self, fields: Fields) -> int:
        return fields.number("label", len(self._desk.board.layers) + 1, lowest=1)

    def _same_case(self, epoch: object) -> None:
        if epoch != self._desk.board.epoch:
            raise OtherCase("the page shows another case than the one that is open now")

    def _answer(self, board: Board) -> Response:
        return JSONResponse(board.to_json(self._desk.cases))

    async def _done(self, future: Future[Board]) -> Response:
        return self._answer(await asyncio.wrap_future(future))


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


async def _body(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        TooLarge: it has more than `most` bytes; they are not read.
    """
    fault = TooLarge(f"the request has more than {most} bytes")
    claimed = request.headers.get("content-length", "0")
    if not claimed.isdigit() or int(claimed) > most:
        raise fault
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise fault
            parts.append(part)
    except ClientDisconnect:
        raise UserError("the page went away in the middle of a request") from None
    return b"".join(parts)
