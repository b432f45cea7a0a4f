"""The buckets for browsers: presigned links and forms, through our server's own address.

The stand-in for AWS answers no browser. Its links are rewritten on their way out to `/aws/…` of the
caller's `Host`, so that they also work from a phone in the same network, and what comes to that
path is passed on as it was signed. Only a presigned GET of an object and a presigned form for an
upload are passed on, without the browser's own headers.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from chalicelib.errors import Forbidden, InvalidRequest, StorageUnavailable
from local.framing import PIECE, pieces
from local.handler import WRITE_SECONDS, StrictHandler

PREFIX = "/aws/"
SECONDS = 60.0
FORM = "multipart/form-data"
SENT_ON = ("Content-Type", "Content-Length", "Range", "If-None-Match", "If-Modified-Since")
ANSWERED = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "ETag",
    "Last-Modified",
)
# What people sent is no page of ours: it runs no script, and no other site embeds it.
SAFE = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Buckets:
    """Passes presigned requests on to the stand-in, and rewrites its links.

    Parameters
    ----------
    url : str
        Of the stand-in, as it is in presigned links.
    uploads : str
        The bucket that takes forms.
    store : str
        The bucket that is only read.
    """

    def __init__(self, url: str, uploads: str, store: str) -> None:
        self._url = url
        self._netloc = urlsplit(url).netloc
        self._form = re.compile(re.escape(uploads) + "/?")
        self._object = re.compile(f"(?:{re.escape(uploads)}|{re.escape(store)})/.+")

    def serves(self, path: str) -> bool:
        """Tell whether a path leads to the buckets."""
        return path.startswith(PREFIX)

    def rewrite_headers(self, headers: Mapping[str, Any], host: str) -> dict[str, Any]:
        """Return an answer's headers, in which our server stands in place of the stand-in."""
        ours = f"http://{host}"
        return {
            name: value.replace(self._url, ours) if isinstance(value, str) else value
            for name, value in headers.items()
        }

    def rewrite_body(self, body: str | bytes, host: str) -> bytes:
        """Return a JSON document whose links lead through our server."""
        content = body if isinstance(body, bytes) else body.encode()
        return content.replace(f"{self._url}/".encode(), f"http://{host}{PREFIX}".encode())

    def forward(self, handler: StrictHandler) -> None:
        """Pass a request on and its answer back, in pieces.

        Raises
        ------
        Forbidden
            It is neither a presigned GET nor a presigned form.
        StorageUnavailable
            The stand-in does not answer.
        """
        target = handler.path.removeprefix(PREFIX)
        self._check(handler, *target.partition("?")[::2])
        connection = http.client.HTTPConnection(self._netloc, timeout=SECONDS)
        try:
            self._send(handler, connection, f"/{target}")
            _answer(handler, connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError) or handler.has_answered:
                handler.close_connection = True
                raise
            raise StorageUnavailable(f"the stand-in for AWS: {error}") from error
        finally:
            connection.close()

    def _check(self, handler: StrictHandler, path: str, query: str) -> None:
        kind = handler.headers.get("content-type", "").partition(";")[0].strip().lower()
        if handler.command in {"GET", "HEAD"}:
            is_signed = "X-Amz-Signature" in parse_qs(query)
            if is_signed and self._object.fullmatch(path) and not handler.length:
                return
        elif handler.command == "POST" and self._form.fullmatch(path) and not query:
            if handler.length is None:
                raise InvalidRequest("send the form with Content-Length, not in chunks")
            if kind == FORM:
                return
        raise Forbidden("only presigned links and forms of POST /v1/uploads and imports pass here")

    def _send(
        self, handler: StrictHandler, connection: http.client.HTTPConnection, target: str
    ) -> None:
        connection.putrequest(handler.command, target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", self._netloc)
        for name in SENT_ON:
            if name in handler.headers:
                connection.putheader(name, handler.headers[name])
        connection.endheaders()
        length = handler.length or 0
        for piece in pieces(handler.begin_body(length), length):
            connection.send(piece)
        handler.end_body()


def _answer(handler: StrictHandler, response: http.client.HTTPResponse) -> None:
    handler.send_response(response.status)
    headers = {name: value for name in ANSWERED if (value := response.headers.get(name))}
    has_body = handler.command != "HEAD" and response.status != HTTPStatus.NOT_MODIFIED
    if "Content-Length" not in headers and response.status != HTTPStatus.NO_CONTENT:
        handler.close_connection = True
        headers["Connection"] = "close"
    for name, value in (headers | SAFE).items():
        handler.send_header(name, value)
    handler.end_headers()
    while has_body and (piece := response.read(PIECE)):
        handler.stream.allow(WRITE_SECONDS)
        handler.wfile.write(piece)
