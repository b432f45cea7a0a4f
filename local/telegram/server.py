"""The Bot API over HTTP: `/bot<token>/<method>` and `/file/bot<token>/<path>`."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from python_multipart import parse_form

from chalicelib.errors import PayloadTooLarge, SightloopError
from local.handler import StrictHandler
from local.listening import Listening
from local.telegram.objects import Refused
from local.telegram.world import World

LARGEST_BODY = 60_000_000
NESTED = frozenset({"media", "reply_markup", "reply_parameters", "allowed_updates"})


class Handler(StrictHandler):
    """One connection of a bot."""

    world: World
    token: str

    def do_POST(self) -> None:  # noqa: N802 - the base class asks for this name
        """Answer a call of a method, or hand out a file."""
        try:
            given = self._given()
        except SightloopError as error:
            self.close_connection = True
            self.send_problem(error)
            return
        route = unquote(urlsplit(self.path).path)
        files = f"/file/bot{self.token}/files/"
        if route.startswith(files):
            self._hand_out(route.removeprefix(files))
        elif route.startswith(f"/bot{self.token}/"):
            self._call(route.rpartition("/")[2], given)
        else:
            self._answer(401, {"ok": False, "error_code": 401, "description": "Unauthorized"})

    do_GET = do_POST  # noqa: N815 - Telegram takes both

    def _call(self, method: str, given: dict[str, Any]) -> None:
        try:
            self._answer(200, {"ok": True, "result": self.world.call(method, given)})
        except Refused as error:
            told: dict[str, Any] = {
                "ok": False,
                "error_code": error.code,
                "description": error.description,
            }
            if error.retry_after is not None:
                told["parameters"] = {"retry_after": error.retry_after}
            self._answer(error.code, told)

    def _hand_out(self, file_id: str) -> None:
        file = self.world.files.get(file_id)
        if file is None:
            self._answer(404, {"ok": False, "error_code": 404, "description": "Not Found"})
        else:
            self._send(200, "application/octet-stream", file)

    def _given(self) -> dict[str, Any]:
        """Return the parameters, whichever of Telegram's ways they came by."""
        body = self.read_body(LARGEST_BODY, PayloadTooLarge(f"{LARGEST_BODY} bytes at most"))
        kind = self.headers.get("content-type", "")
        given: dict[str, Any] = dict(parse_qsl(urlsplit(self.path).query))
        if kind.startswith("application/json"):
            return {**given, **json.loads(body or b"{}")}
        if kind.startswith("multipart/"):
            given |= _multipart(kind, body)
        else:
            given |= dict(parse_qsl(body.decode(), keep_blank_values=True))
        nested = {k: json.loads(v) for k, v in given.items() if k in NESTED and isinstance(v, str)}
        return given | nested

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(answer).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _multipart(kind: str, body: bytes) -> dict[str, Any]:
    given: dict[str, Any] = {}

    def on_field(field: Any) -> None:
        given[field.field_name.decode()] = (field.value or b"").decode()

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        given[file.field_name.decode()] = file.file_object.read()

    headers = {"Content-Type": kind.encode(), "Content-Length": str(len(body)).encode()}
    parse_form(headers, BytesIO(body), on_field, on_file)
    return given


class Server:
    """Serves a world on a port of 127.0.0.1.

    Parameters
    ----------
    world : World
    token : str
        The bot's.
    port : int
        0: any that is free.
    """

    def __init__(self, world: World, token: str, port: int = 0) -> None:
        handler = type("BotApi", (Handler,), {"world": world, "token": token})
        self._server = Listening(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._server.begin()

    def stop(self) -> None:
        """Take no more calls."""
        self._server.end()
