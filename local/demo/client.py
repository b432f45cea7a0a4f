"""The service over HTTP, as one person reaches it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

import jwt
import numpy as np

from local.demo.people import Boxes, Seen

JSON = "application/json"
TRIES = 20
_kept = threading.local()


class Api:
    """The service over HTTP, for one user.

    All users of a thread share a connection: for each the one-machine server keeps a thread.
    Callers with an address of their own have a connection for each request.

    Parameters
    ----------
    port : int
        On 127.0.0.1.
    token : str
        Of a user, or of an operator; empty: the caller is known by the address alone.
    address : str, optional
        Source address of the connections, in 127.0.0.0/8; the operating system's choice if empty.
    """

    def __init__(self, port: int, token: str, address: str = "") -> None:
        self._token = token
        self._port = port
        self._address = address
        self.retried = 0

    @classmethod
    def of_user(cls, port: int, key: str, user: str) -> Self:
        """Return the service as a user reaches it; the key is that which signs users' tokens."""
        claims = {"sub": user, "exp": int(time.time()) + 24 * 3600}
        return cls(port, jwt.encode(claims, key, "HS256"))

    def get(self, path: str) -> Any:
        """Return what is there.

        Raises
        ------
        RuntimeError
            The answer is another than 200.
        """
        status, told = self.ask("GET", path)
        if status != 200:
            raise RuntimeError(f"{path}: {status}: {told}")
        return told

    def post(self, path: str, body: bytes, media_type: str) -> tuple[int, Any]:
        """Return the status and the answer."""
        return self.ask("POST", path, body, media_type)

    def ask(
        self, method: str, path: str, body: bytes | None = None, media_type: str = JSON
    ) -> tuple[int, Any]:
        """Send a request, again where it may succeed later; return the status and the answer."""
        for _ in range(TRIES):
            status, told = self._ask_once(method, path, body, media_type)
            if status not in (429, 503):
                break
            self.retried += 1
            time.sleep(1)
        return status, told

    def _ask_once(
        self, method: str, path: str, body: bytes | None, media_type: str
    ) -> tuple[int, Any]:
        headers = {"Content-Type": media_type}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        for last in (False, True):
            held = self._connection()
            try:
                held.request(method, path, body, headers)
                answer = held.getresponse()
                return answer.status, json.loads(answer.read())
            except (http.client.HTTPException, ConnectionError):
                held.close()
                if last:
                    raise
            finally:
                if self._address:
                    held.close()
        raise AssertionError("not reached")

    def _connection(self) -> http.client.HTTPConnection:
        if not self._address:
            return _connection(self._port)
        source = (self._address, 0)
        return http.client.HTTPConnection("127.0.0.1", self._port, 120, source)

    def detect(self, model: str, photo: bytes, options: str = "") -> tuple[str, Boxes]:
        """Detect, and keep what was found; return the prediction's id and boxes.

        ``options`` is more of the query, such as ``confidence=0.5``.
        """
        path = f"/v1/models/{model}/detections?keep=true" + (options and f"&{options}")
        status, told = self.post(path, photo, "image/jpeg")
        if status != 200:
            raise RuntimeError(f"{status}: {told}")
        return told["prediction_id"], boxes_of(told["detections"])

    def submit(self, model: str, prediction_id: str, seen: Seen, said: Boxes) -> tuple[int, Any]:
        """Submit boxes, as the tool does: confirmed where nothing was changed, or empty."""
        body = {"prediction_id": prediction_id, **_said(seen, said)}
        path = f"/v1/models/{model}/submissions"
        return self.post(path, json.dumps(body).encode(), JSON)

    def task(self, model: str) -> tuple[str, Boxes] | None:
        """Ask for a photo to look at; return its prediction's id and boxes, None if there is none.

        Who is banned gets none.
        """
        status, told = self.post(f"/v1/models/{model}/tasks", b"{}", JSON)
        if status in (403, 404):
            return None
        if status not in (200, 201):
            raise RuntimeError(f"{status}: {told}")
        shown = self.get(f"/v1/predictions/{told['prediction_id']}")
        return shown["prediction_id"], boxes_of(shown["result"]["detections"])


def _connection(port: int) -> http.client.HTTPConnection:
    """Return this thread's connection; one that was closed opens itself again."""
    held: http.client.HTTPConnection | None = getattr(_kept, "connection", None)
    if held is None or held.port != port:
        held = _kept.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    return held


def boxes_of(detections: Sequence[dict[str, Any]]) -> Boxes:
    """Read the boxes of an answer."""
    corners = [[each["box"][edge] for edge in ("x1", "y1", "x2", "y2")] for each in detections]
    classes = [each["class_id"] for each in detections]
    return Boxes(np.array(corners, np.float64).reshape(-1, 4), np.array(classes, np.int64))


def _said(seen: Seen, said: Boxes) -> dict[str, Any]:
    same = len(said) == len(seen.predicted) and np.array_equal(said.xyxy, seen.predicted.xyxy)
    if not len(said):
        return {"answer": "empty"}
    if same and np.array_equal(said.class_id, seen.predicted.class_id):
        return {"answer": "confirmed"}
    return {"answer": "corrected", "boxes": list(_written(said))}


def _written(said: Boxes) -> Iterator[dict[str, Any]]:
    for box, class_id in zip(said.xyxy.tolist(), said.class_id.tolist(), strict=True):
        edges = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
        yield {"class_id": class_id, "box": edges}
