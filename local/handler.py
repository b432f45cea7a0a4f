"""What all HTTP handlers of this machine share: strict parsing, deadlines, and who may call."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import uuid
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO, cast

from chalicelib.errors import InvalidRequest, PayloadTooLarge, SightloopError
from chalicelib.web import problems
from local.framing import HeadLines, TimedStream, body_length, check_head, chunked_body, pieces
from local.listening import Listening
from local.origins import refuse_browsers

FIRST_SECONDS = 10.0  # from the connection to the first byte of a request
IDLE_SECONDS = 75.0  # between two requests
CROWDED_SECONDS = 5.0  # the same, while more than half of all connections are in use
HEAD_SECONDS = 10.0  # for the request line and the headers
BODY_SECONDS = 30.0  # for a body, and 1 s more for each SLOWEST bytes
SLOWEST = 100_000  # bytes a second
WRITE_SECONDS = 60.0  # for an answer
DRAIN_SECONDS = 2.0  # a connection that is closed too early loses the answer


class StrictHandler(BaseHTTPRequestHandler):
    """One connection. Small writes go out at once: the stock server loses 40 ms a request.

    Attributes
    ----------
    length : int or None
        Bytes of the request's body; ``None``: it comes in chunks.
    stream : TimedStream
        The connection under ``rfile`` and ``wfile``.
    has_answered : bool
        Whether the answer to the present request has begun.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    raw_requestline: bytes
    length: int | None = 0
    stream: TimedStream
    has_answered = False
    _is_read = True
    _is_first = True
    _expects = False

    def setup(self) -> None:
        """Put deadlines under the connection's files."""
        super().setup()
        self.stream = TimedStream(self.connection)
        self.rfile = io.BufferedReader(self.stream)
        self.wfile = io.BufferedWriter(cast(io.RawIOBase, self.stream))

    def finish(self) -> None:
        """Read what is left of a refused request, so that the answer is not lost, and close."""
        if self._has_unread_body():
            with contextlib.suppress(OSError):
                self._drain()
        self.stream.allow(DRAIN_SECONDS)
        super().finish()

    def handle_one_request(self) -> None:
        """Wait for a request, and answer it."""
        self.stream.allow(self._idle_seconds())
        self._is_first = False
        try:
            if not cast(io.BufferedReader, self.rfile).peek(1):
                self.close_connection = True
                return
            self.stream.allow(HEAD_SECONDS)
            super().handle_one_request()
        except TimeoutError:
            self.close_connection = True
        if self._has_unread_body():
            self.close_connection = True

    def parse_request(self) -> bool:
        """Parse the head; refuse one that is ambiguous, or from whom may not call."""
        self.length, self._is_read, self._expects = None, False, False
        self.has_answered = False
        head, stream = HeadLines(cast(BinaryIO, self.rfile)), self.rfile
        self.rfile = head  # type: ignore[assignment]
        try:
            is_parsed = super().parse_request()
        finally:
            self.rfile = stream
        if not is_parsed:
            return False
        try:
            self._check(head.lines)
        except SightloopError as error:
            self.close_connection = True
            self.request_version = self.protocol_version  # else no headers go out with 0.9
            self.send_problem(error)
            self.wfile.flush()
            return False
        return True

    def _check(self, lines: list[bytes]) -> None:
        check_head(self.raw_requestline, lines)
        if not self.path.startswith("/"):
            raise InvalidRequest("the request's target is not a path")
        self.length = body_length(self.headers, self.request_version)
        self._is_read = self.length == 0
        self.check_caller()

    def check_caller(self) -> None:
        """Refuse callers that may not use this server; by default, browsers.

        Raises
        ------
        InvalidRequest, Forbidden
        """
        port = cast(Listening, self.server).server_port
        refuse_browsers(self.command, self.headers, port)

    def handle_expect_100(self) -> bool:
        """Put off `100 Continue` until the body is read: the request may be refused before."""
        self._expects = True
        return True

    def read_body(self, most: int, too_large: PayloadTooLarge) -> bytes:
        """Return the request's body.

        Raises
        ------
        InvalidRequest
            It breaks off, or its chunks are malformed.
        PayloadTooLarge
            The one given, where the body has more bytes than ``most``.
        TimeoutError
            It comes too slowly.
        """
        if self.length is not None and self.length > most:
            raise too_large
        size = most if self.length is None else self.length
        stream = self.begin_body(size)
        if self.length is None:
            body = chunked_body(stream, too_large, most)
        else:
            body = b"".join(pieces(stream, self.length))
        self.end_body()
        return body

    def begin_body(self, size: int) -> BinaryIO:
        """Return the file that the body is read from, with a deadline for this many bytes."""
        if self._expects:
            self._expects = False
            self.send_response_only(HTTPStatus.CONTINUE)
            self.end_headers()
            self.wfile.flush()
        self.stream.allow(BODY_SECONDS + size / SLOWEST)
        return cast(BinaryIO, self.rfile)

    def end_body(self) -> None:
        """Note that the whole body was read, so that the connection can be kept."""
        self._is_read = True

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin an answer, with a deadline of its own."""
        self.stream.allow(WRITE_SECONDS)
        self.has_answered = True
        super().send_response(code, message)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse malformed HTTP with a problem document."""
        self.close_connection = True
        self.request_version = self.protocol_version  # else no headers go out with 0.9
        self.path = getattr(self, "path", "")
        self.send_problem(InvalidRequest(message or HTTPStatus(code).phrase))
        self.wfile.flush()

    def send_problem(self, error: SightloopError) -> None:
        """Answer with a problem document."""
        response = problems.response(error, self.path)
        correlation_id = str(uuid.uuid4())
        document = json.loads(response.body) | {"correlation_id": correlation_id}
        body = json.dumps(document).encode()
        self.send_response(error.status)
        own = {"X-Correlation-Id": correlation_id, "Content-Length": str(len(body))}
        if self.close_connection or self._has_unread_body():
            own["Connection"] = "close"
        for name, value in (response.headers | own).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing: paths hold tokens."""

    def version_string(self) -> str:
        """Name ourselves in the Server header."""
        return "sightloop"

    def _has_unread_body(self) -> bool:
        return not self._is_read

    def _idle_seconds(self) -> float:
        if self._is_first:
            return FIRST_SECONDS
        return CROWDED_SECONDS if cast(Listening, self.server).is_crowded else IDLE_SECONDS

    def _drain(self) -> None:
        self.stream.allow(DRAIN_SECONDS)
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        while cast(io.BufferedReader, self.rfile).read1():
            pass
