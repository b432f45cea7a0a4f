"""The HTTP server under all of ours: a thread for each connection, no news of those that leave."""

from __future__ import annotations

import sys
import threading
from http.server import ThreadingHTTPServer
from typing import Any


class Listening(ThreadingHTTPServer):
    """Listens; whoever goes away in the middle of a call is no news."""

    daemon_threads = True

    def begin(self) -> None:
        """Answer, in a thread of its own."""
        self._answering = threading.Thread(target=self.serve_forever, daemon=True)
        self._answering.start()

    def end(self) -> None:
        """Take no more requests."""
        self.shutdown()
        self.server_close()
        self._answering.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of an error, unless it is the other side's end."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
