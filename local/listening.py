"""The HTTP server under all of ours: a thread for each connection, bounded in number and time."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import Any

MOST_CONNECTIONS = 256
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
    b"Retry-After: 2\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
)
BUSY_BODY = (
    b'{"type": "urn:sightloop:problem:overloaded", "title": "Overloaded", "status": 503, '
    b'"detail": "too many connections are open: close some, or try again later", "retry": true}'
)


class Listening(ThreadingHTTPServer):
    """Accepts connections up to a limit; further ones get 503 and are closed.

    Attributes
    ----------
    most_connections : int
        Open at a time, each in a thread of its own.
    """

    daemon_threads = True
    most_connections = MOST_CONNECTIONS

    def begin(self) -> None:
        """Answer, in a thread of its own."""
        self._answering = threading.Thread(target=self.serve_forever, daemon=True)
        self._answering.start()

    def end(self) -> None:
        """Take no more requests."""
        self.shutdown()
        self.server_close()
        self._answering.join()

    @property
    def is_crowded(self) -> bool:
        """Whether more than half of the connections are in use: idle ones are closed sooner."""
        return self._open > self.most_connections // 2

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, or refuse it without one."""
        with self._counting:
            is_full = self._open >= self.most_connections
            self._open += not is_full
        if is_full:
            _refuse(request)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._forget_one()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection until it is closed."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget_one()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of an error, unless it is the other side's end."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def _forget_one(self) -> None:
        with self._counting:
            self._open -= 1

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._open = 0
        self._counting = threading.Lock()
        super().__init__(*arguments, **named)


def _refuse(connection: socket.socket) -> None:
    """Send 503 if that is possible without waiting."""
    with contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(BUSY % (len(BUSY_BODY), BUSY_BODY))
