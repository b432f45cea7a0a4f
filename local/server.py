"""Chalice's own HTTP server, with what it lacks: speed, limits, chunked bodies, HEAD, problems."""

from __future__ import annotations

import functools
import json
import socket
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TextIO

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import (
    ChaliceRequestHandler,
    ForbiddenError,
    LocalChalice,
    LocalGatewayException,
)

from chalicelib.errors import InvalidRequest, NotFound, PayloadTooLarge, SightloopError
from chalicelib.web import problems
from chalicelib.web.routes import link_beside
from local.listening import Listening

if TYPE_CHECKING:
    from local.telegram.window import Window

LARGEST_BODY = 10 * 1024 * 1024  # what API Gateway takes
LARGEST_CHAT_BODY = 120_000_000  # an album
IDLE_SECONDS = 75


class Handler(ChaliceRequestHandler):
    """One connection. Small writes go out at once: the stock server loses 40 ms a request."""

    disable_nagle_algorithm = True
    timeout = IDLE_SECONDS
    wbufsize = -1
    path: str
    access_log: TextIO
    window: Window | None = None

    def setup(self) -> None:
        """Give the app the address of the caller, as API Gateway does; Chalice names 127.0.0.1."""
        super().setup()
        self.local_gateway.event_converter.LOCAL_SOURCE_IP = self.client_address[0]

    def _generic_handle(self) -> None:
        try:
            if self.window and self.window.serves(self.path):
                self._answer_window(self.window)
            else:
                super()._generic_handle()
        except SightloopError as error:
            self.close_connection = True
            self._send_problem(error)
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = _generic_handle  # noqa: N815

    def do_HEAD(self) -> None:  # noqa: N802 - the base class asks for this name
        """Answer as GET does, without the body."""
        self.command = "GET"
        self._bodiless = True
        self._generic_handle()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Let the app refuse a method that nobody serves; the rest is malformed HTTP."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._generic_handle()
            return
        self.close_connection = True
        self.request_version = self.protocol_version  # else it may stand at 0.9, without headers
        self.path = getattr(self, "path", "")
        self._send_problem(InvalidRequest(message or HTTPStatus(code).phrase))
        self.wfile.flush()

    def _answer_window(self, window: Window) -> None:
        """Answer what is asked of the chat window, which takes more than API Gateway does."""
        body = self._read_body(LARGEST_CHAT_BODY)
        kind = self.headers.get("content-type", "")
        answer = window.answer(self.command, self.path, kind, body)
        self._send_http_response(answer.status, dict(answer.headers), answer.body)

    def _send_http_response_with_body(
        self, code: int, headers: dict[str, Any], body: str | bytes
    ) -> None:
        if not getattr(self, "_bodiless", False):
            return super()._send_http_response_with_body(code, headers, body)
        self._bodiless = False
        length = len(body if isinstance(body, bytes) else body.encode())
        self.send_response(code)
        return self._send_headers({**headers, "Content-Length": str(length)})

    def _parse_payload(self) -> tuple[dict[str, str], bytes | None]:
        """Read the body, chunked or not, up to what API Gateway takes."""
        headers = dict(self.headers)
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return headers, self._read_chunks()
        return headers, self._read_body(LARGEST_BODY) or None

    def _read_body(self, largest: int) -> bytes:
        length = self.headers.get("content-length", "0")
        if not length.isdecimal():
            raise InvalidRequest(f"Content-Length is {length!r}, not a number")
        if int(length) > largest:
            raise _too_large(largest)
        return bytes(self.rfile.read(int(length)))

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := self._chunk_size():
            if len(body) + size > LARGEST_BODY:
                raise _too_large()
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return bytes(body)

    def _chunk_size(self) -> int:
        line = self.rfile.readline(1024).split(b";")[0].strip()
        try:
            return int(line, 16)
        except ValueError:
            raise InvalidRequest("the chunked body is malformed") from None

    def _send_error_response(self, error: LocalGatewayException) -> None:
        """Say that there is no such route, which API Gateway words as a missing token."""
        if isinstance(error, ForbiddenError):
            self._send_problem(NotFound(f"there is nothing at {self.path!r}: see /openapi.json"))
        else:
            super()._send_error_response(error)

    def _send_problem(self, error: SightloopError) -> None:
        told = problems.response(error, self.path)
        headers = {**told.headers, "X-Correlation-Id": str(uuid.uuid4())}
        document = json.loads(told.body) | {"correlation_id": headers["X-Correlation-Id"]}
        if not self.close_connection:
            return self._send_http_response(error.status, headers, json.dumps(document))
        headers["Connection"] = "close"
        return self._send_http_response(error.status, headers, json.dumps(document))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write the access log to its file."""
        self.access_log.write(f"{self.log_date_time_string()} {format % args}\n")

    def version_string(self) -> str:
        """Name ourselves in the Server header."""
        return "sightloop"


class Server:
    """Serves an app on a port of 127.0.0.1, in threads of its own.

    Parameters
    ----------
    app : Chalice
    config : Config
    listening : socket
        From ``local.home.listen``; closed by ``stop``.
    access_log : text file
    window : Window, optional
        The chat with the bot, served beside the app.
    """

    def __init__(
        self,
        app: Chalice,
        config: Config,
        listening: socket.socket,
        access_log: TextIO,
        window: Window | None = None,
    ) -> None:
        _keep_requests_apart(app)
        if window:
            link_beside(window.address, window.name)
        own = {"access_log": access_log, "window": window}
        handler = type("LoggingHandler", (Handler,), own)
        answering = functools.partial(handler, app_object=app, config=config)
        address = listening.getsockname()
        self._server = Listening(address, answering, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening
        self._server.begin()

    def stop(self) -> None:
        """Take no more requests."""
        self._server.end()


def _keep_requests_apart(app: Chalice) -> None:
    """Give each thread a current request of its own: a Lambda answers one at a time, we do not."""
    if not isinstance(app, LocalChalice):
        app.__class__ = type("LocalApp", (LocalChalice, type(app)), {})


def _too_large(largest: int = LARGEST_BODY) -> PayloadTooLarge:
    if largest == LARGEST_CHAT_BODY:
        return PayloadTooLarge(f"that is too much at once: {largest} bytes at most")
    return PayloadTooLarge(
        f"a call carries at most {LARGEST_BODY} bytes: ask POST /v1/uploads for a form and send "
        f"the image with it ({HTTPStatus.REQUEST_ENTITY_TOO_LARGE.phrase})"
    )
