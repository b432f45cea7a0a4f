"""The usual recipe for a detector behind HTTP, to measure against: ultralytics and a lock.

`benchmarks/endpoint.py` starts it with the Python that has torch and ultralytics.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}

from PIL import Image
from ultralytics import YOLO


class Recipe(BaseHTTPRequestHandler):
    """`GET /ping` and `POST /invocations`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    network: Any
    lock = threading.Lock()

    def do_GET(self) -> None:
        """Be healthy."""
        self._answer({})

    def do_POST(self) -> None:
        """Detect, one at a time."""
        image = Image.open(BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
        with self.lock:
            [found] = self.network.predict(image, conf=0.25, iou=0.45, verbose=False, device="cpu")
        self._answer(json.loads(found.to_json()))

    def _answer(self, told: Any) -> None:
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    Recipe.network = YOLO(given.model, task="detect")
    Recipe.network.predict(Image.new("RGB", (450, 300)), verbose=False, device="cpu")
    ThreadingHTTPServer(("127.0.0.1", given.port), Recipe).serve_forever()


if __name__ == "__main__":
    main()
