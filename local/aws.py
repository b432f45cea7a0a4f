"""`python -m local.aws`: the stand-in for AWS, which answers signed requests of programs only.

ministack takes any credentials, lets any web page read its answers (CORS `*`) and wipes its data on
an unsigned `POST /_ministack/reset`. This guard before it lets pass what is signed with the secret
key of this data folder, presigned links to objects, and forms, whose signature ministack checks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ministack import app as ministack
from ministack.core import sigv4

from chalicelib.errors import SightloopError
from local.durable import durable_app
from local.origins import refuse_browsers

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH = "/_ministack/health"
HEADER_SIGNED = "AWS4-HMAC-SHA256 "
FORM = "multipart/form-data"
BUCKET = re.compile(r"/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/?")
LARGEST_SIGNED_BODY = 64 * 1024 * 1024  # of services whose signature covers the body; S3's does not
FOR_LINKS = frozenset({"host", "range", "if-none-match", "if-modified-since"})
FOR_FORMS = frozenset({"host", "content-type", "content-length"})


class Guard:
    """An ASGI application before the stand-in.

    Parameters
    ----------
    app : ASGI application
        The stand-in.
    port : int
        Of the stand-in.
    access_key, secret_key : str
        The only credentials that are taken.
    """

    def __init__(self, app: App, port: int, access_key: str, secret_key: str) -> None:
        self._app = app
        self._port = port
        self._access_key = access_key
        self._secret_key = secret_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        try:
            refuse_browsers(scope["method"], headers, self._port)
        except SightloopError as error:
            await _refuse(send, error.detail)
            return
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if headers.get("authorization", "").startswith(HEADER_SIGNED):
            await self._answer_signed(scope, receive, send, query)
        elif self._is_link(scope, headers, query):
            await self._app(_with_headers(scope, FOR_LINKS), receive, send)
        elif _is_form(scope, headers):
            await self._app(_with_headers(scope, FOR_FORMS), receive, send)
        elif scope["method"] == "GET" and scope["path"] == HEALTH:
            await self._app(scope, receive, send)
        else:
            await _refuse(send, "requests have to be signed with the key of this data folder")

    async def _answer_signed(
        self, scope: Scope, receive: Receive, send: Send, query: dict[str, list[str]]
    ) -> None:
        headers = {name.lower(): value for name, value in _headers(scope).items()}
        signature = sigv4.parse_header_signature(headers)
        if isinstance(signature, tuple):
            await _refuse(send, signature[1])
            return
        body = b""
        if signature.service != "s3":
            body, receive = await _buffered(receive)
        if "host" not in signature.signed_headers.split(";") or not self._matches(
            signature, scope, query, headers, body
        ):
            await _refuse(send, "the signature does not match")
        elif sigv4.request_time_failure(signature):
            await _refuse(send, "the signature has expired")
        else:
            await self._app(scope, receive, send)

    def _is_link(self, scope: Scope, headers: Message, query: dict[str, list[str]]) -> bool:
        """Tell whether a request is a presigned GET; the stand-in checks when it expires."""
        if scope["method"] != "GET" or "X-Amz-Signature" not in query:
            return False
        signature = sigv4.parse_query_signature(query)
        if isinstance(signature, tuple) or signature.service != "s3":
            return False
        if signature.signed_headers != "host" or "X-Amz-Expires" not in query:
            return False
        own = {"host": str(headers["host"])}
        return self._matches(signature, scope, query, own, b"", presigned=True)

    def _matches(
        self,
        signature: sigv4.HeaderSignature,
        scope: Scope,
        query: dict[str, list[str]],
        headers: dict[str, str],
        body: bytes,
        *,
        presigned: bool = False,
    ) -> bool:
        if signature.access_key_id != self._access_key or signature.region_set is not None:
            return False
        path, method = scope["raw_path"].decode("latin-1"), scope["method"]
        failure = sigv4.header_signature_failure(
            signature, self._secret_key, method, path, query, headers, body, presigned=presigned
        )
        return failure is None


def _is_form(scope: Scope, headers: Message) -> bool:
    """Tell whether a request is a form for a bucket."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_plain = not scope["query_string"] and BUCKET.fullmatch(scope["path"]) is not None
    return scope["method"] == "POST" and kind == FORM and is_plain


def _headers(scope: Scope) -> Message:
    headers = Message()
    for name, value in scope["headers"]:
        headers[name.decode("latin-1")] = value.decode("latin-1")
    return headers


def _with_headers(scope: Scope, names: frozenset[str]) -> Scope:
    """Return a scope with these headers only: none may name another service or account."""
    kept = [pair for pair in scope["headers"] if pair[0].decode("latin-1").lower() in names]
    return {**scope, "headers": kept}


async def _buffered(receive: Receive) -> tuple[bytes, Receive]:
    """Read a body; return it, and what hands it out again."""
    body, more = bytearray(), True
    while more and len(body) <= LARGEST_SIGNED_BODY:
        event = await receive()
        body += event.get("body", b"")
        more = event["type"] == "http.request" and event.get("more_body", False)
    pending: list[Event] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def again() -> Event:
        return pending.pop() if pending else await receive()

    return bytes(body), again


async def _refuse(send: Send, why: str) -> None:
    body = f"<Error><Code>AccessDenied</Code><Message>{why}</Message></Error>".encode()
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/xml"), (b"content-length", length)]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Run the stand-in behind its guard, as its environment sets it up."""
    port = int(os.environ["GATEWAY_PORT"])
    keys = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    app = durable_app(Path(os.environ["STATE_DIR"]))
    ministack.app = Guard(app, port, *keys)
    ministack.main()


if __name__ == "__main__":
    main()
