"""The HTTP server under both of ours: a thread for each connection, no news of those that leave."""

from __future__ import annotations

import sys
from http.server import ThreadingHTTPServer
from typing import Any


class Listening(ThreadingHTTPServer):
    """Listens; whoever goes away in the middle of a call is no news."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of an error, unless it is the other side's end."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
