"""Chalice's own HTTP server, with what it lacks: speed, limits, strictness, HEAD, problems."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import (
    ChaliceRequestHandler,
    ForbiddenError,
    LocalChalice,
    LocalGatewayException,
)

from chalicelib.errors import NotFound, PayloadTooLarge, SightloopError
from chalicelib.web.routes import link_beside
from local.admission import Place, Turns, give_memory_back
from local.handler import StrictHandler
from local.listening import Listening
from local.origins import Origins
from local.watch import Watch

if TYPE_CHECKING:
    from local.buckets import Buckets
    from local.disk import DiskSpace
    from local.telegram.window import Window

LARGEST_BODY = 10 * 1024 * 1024  # what API Gateway takes
LARGEST_CHAT_BODY = 120_000_000  # an album
LIGHT_BODY = 1024 * 1024  # a larger body waits in the same queue as what computes
COMPUTING = ("/detections", "/images")  # how paths end whose POST runs or prepares a detection
DETECTIONS_WAITING = 32
DISK_IS_FULL = (
    "the disk of the machine that runs this is full: make room, then try again; "
    "what was acknowledged before is kept"
)


@dataclass(frozen=True)
class Limits:
    """Who may call a server, how much it does at a time, and the space that it has.

    Parameters
    ----------
    allowed_hosts : str
        Beside localhost, behind commas; see ``Origins``.
    turns : Turns
        For requests that compute.
    disk : DiskSpace, optional
        Of the data folder: where it is full, answers with 503 say so.
    """

    allowed_hosts: str = ""
    turns: Turns = field(default_factory=lambda: Turns(0, DETECTIONS_WAITING))
    disk: DiskSpace | None = None


class Handler(StrictHandler, ChaliceRequestHandler):
    """One connection to the app."""

    access_log: io.TextIOBase
    origins: Origins
    turns: Turns
    window: Window | None = None
    buckets: Buckets | None = None
    disk: DiskSpace | None = None
    _place: Place | None = None

    def check_caller(self) -> None:
        """Refuse pages of other sites, and other names than ours.

        Raises
        ------
        InvalidRequest, Forbidden
        """
        self.origins.check(self.command, self.headers)

    def setup(self) -> None:
        """Give the app the address of the caller, as API Gateway does; Chalice names 127.0.0.1."""
        super().setup()
        self.local_gateway.event_converter.LOCAL_SOURCE_IP = self.client_address[0]

    def _generic_handle(self) -> None:
        try:
            with self._admitted():
                self._route()
        except SightloopError as error:
            self.close_connection = True
            self.send_problem(error)
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = _generic_handle  # noqa: N815

    def _route(self) -> None:
        if self.buckets and self.buckets.serves(self.path):
            self.buckets.forward(self)
        elif self.window and self.window.serves(self.path):
            self._answer_window(self.window)
        else:
            super()._generic_handle()

    @contextlib.contextmanager
    def _admitted(self) -> Iterator[None]:
        """Give a request that computes a place; ``_read`` waits for its turn.

        Raises
        ------
        Overloaded
        """
        if not self._is_heavy():
            yield
            return
        with self.turns.place() as place:
            self._place = place
            try:
                yield
            finally:
                self._place = None

    def _is_heavy(self) -> bool:
        """Tell whether a request computes, or has a body that takes much memory."""
        if self.buckets and self.buckets.serves(self.path):
            return False  # streamed
        computes = self.path.partition("?")[0].rstrip("/").endswith(COMPUTING)
        has_large_body = self.length is None or self.length > LIGHT_BODY
        return has_large_body or (self.command == "POST" and computes)

    def do_HEAD(self) -> None:  # noqa: N802 - the base class asks for this name
        """Answer as GET does, without the body."""
        if self.buckets and self.buckets.serves(self.path):
            self._generic_handle()
            return
        self.command = "GET"
        self._bodiless = True
        self._generic_handle()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Let the app refuse a method that nobody serves; the rest is malformed HTTP."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._generic_handle()
        else:
            super().send_error(code, message, explain)

    def _answer_window(self, window: Window) -> None:
        """Answer what is asked of the chat window, which takes more than API Gateway does."""
        body = self._read(LARGEST_CHAT_BODY)
        kind = self.headers.get("content-type", "")
        answer = window.answer(self.command, self.path, kind, body)
        self._send_http_response(answer.status, dict(answer.headers), answer.body)

    def _send_http_response(
        self, code: int, headers: dict[str, Any], body: str | bytes | None
    ) -> None:
        if self._place:
            self._place.leave()  # who reads the answer slowly keeps nobody waiting
        if self.buckets:
            host = self.headers["host"].strip()
            headers = self.buckets.rewrite_headers(headers, host)
            if body and "json" in str(headers.get("Content-Type", "")):
                body = self.buckets.rewrite_body(body, host)
        if code == HTTPStatus.SERVICE_UNAVAILABLE and body and self.disk and self.disk.is_full():
            body = _with_disk_named(body)
        super()._send_http_response(code, headers, body)

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
        return dict(self.headers), self._read(LARGEST_BODY) or None

    def _read(self, most: int) -> bytes:
        """Read the body, and wait for a turn where the request computes."""
        body = self.read_body(most, _too_large(most))
        if self._place:
            self._place.wait()
        return body

    def _send_error_response(self, error: LocalGatewayException) -> None:
        """Say that there is no such route, which API Gateway words as a missing token."""
        if isinstance(error, ForbiddenError):
            self.send_problem(NotFound(f"there is nothing at {self.path!r}: see /openapi.json"))
        else:
            super()._send_error_response(error)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write the access log to its file."""
        self.access_log.write(f"{self.log_date_time_string()} {format % args}\n")


class Server:
    """Serves an app on a port of this machine, in threads of its own.

    Parameters
    ----------
    app : Chalice
    config : Config
    listening : socket
        From ``local.home.listen``; closed by ``stop``.
    access_log : text file
    window : Window, optional
        The chat with the bot, served beside the app.
    buckets : Buckets, optional
        Served beside the app, for browsers that cannot reach them otherwise.
    limits : Limits, optional
    """

    def __init__(
        self,
        app: Chalice,
        config: Config,
        listening: socket.socket,
        access_log: io.TextIOBase,
        window: Window | None = None,
        buckets: Buckets | None = None,
        limits: Limits | None = None,
    ) -> None:
        _keep_requests_apart(app)
        if window:
            link_beside(window.address, window.name)
        limits, address = limits or Limits(), listening.getsockname()
        own = {
            "access_log": access_log,
            "window": window,
            "buckets": buckets,
            "turns": limits.turns,
            "disk": limits.disk,
            "origins": Origins(address[1], limits.allowed_hosts),
        }
        handler = type("AppHandler", (Handler,), own)
        answering = functools.partial(handler, app_object=app, config=config)
        self._server = Listening(address, answering, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = listening
        self._server.server_port = address[1]
        self._server.begin()
        self._trimming = Watch(give_memory_back)

    def stop(self) -> None:
        """Take no more requests."""
        self._trimming.stop()
        self._server.end()


def _keep_requests_apart(app: Chalice) -> None:
    """Give each thread a current request of its own: a Lambda answers one at a time, we do not."""
    if not isinstance(app, LocalChalice):
        app.__class__ = type("LocalApp", (LocalChalice, type(app)), {})


def _with_disk_named(body: str | bytes) -> bytes:
    """Return a problem document that says what is wrong, where the app only knows what failed."""
    document = json.loads(body)
    return json.dumps(document | {"detail": DISK_IS_FULL}).encode()


def _too_large(largest: int) -> PayloadTooLarge:
    if largest == LARGEST_CHAT_BODY:
        return PayloadTooLarge(f"that is too much at once: {largest} bytes at most")
    return PayloadTooLarge(
        f"a call carries at most {LARGEST_BODY} bytes: ask POST /v1/uploads for a form and send "
        f"the image with it ({HTTPStatus.REQUEST_ENTITY_TOO_LARGE.phrase})"
    )
