"""The page and its files, the OpenAPI document, and whether a detection would succeed."""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from pathlib import Path
from typing import Any

from chalice.app import Response
from pydantic import BaseModel

from chalicelib.errors import NotFound, SightloopError, Unavailable
from chalicelib.web import openapi
from chalicelib.web.api import Api, Media, Operation
from chalicelib.wiring import services

api = Api(__name__, tag="service")
documented: list[Operation] = []

VERSION = "1"
STATIC = Path(__file__).with_name("static")
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
REVALIDATE = "no-cache"


class Health(BaseModel):
    """A detection would succeed."""

    status: str
    model: str
    version: int


@api.route(
    "GET",
    "/healthz",
    "Tell whether a detection would succeed",
    {200: Health},
    errors=(Unavailable,),
)
def healthz() -> Health:
    """Load a model, as a detection would, and name it."""
    catalog = services().catalog
    names = [file.name for file in catalog.all() if file.live_version is not None]
    if not names:
        raise Unavailable("no model is registered yet")
    try:
        return Health(status="ok", model=names[0], version=services().inference.ready(names[0]))
    except Unavailable:
        raise
    except SightloopError as error:
        raise Unavailable(f"model {names[0]!r} does not load: {error.detail}") from error


@api.route(
    "GET",
    "/openapi.json",
    "Describe this API",
    {200: Media({"application/json": {"type": "object"}})},
)
def describe() -> Response:
    """Return this document."""
    return Response(
        openapi.document(documented, VERSION),
        {"Content-Type": "application/json", "Cache-Control": "no-cache"},
    )


@api.route("GET", "/", "The page", {200: Media({"text/html": {}})}, documented=False)
def page() -> Response:
    """Return the page."""
    return _file(STATIC / "index.html")


@api.route("GET", "/static/{name}", "A file of the page", {200: Media({})}, documented=False)
def static_file(name: str) -> Response:
    """Return a script or a style sheet."""
    return _file(STATIC / Path(name).name)


@api.route("GET", "/samples/{name}", "A sample photo", {200: Media({})}, documented=False)
def sample(name: str) -> Response:
    """Return a sample photo."""
    return _file(STATIC / "samples" / Path(name).name)


def _file(path: Path) -> Response:
    """Return a file that ships, or nothing at all where the client's copy is the same."""
    body, etag = _read(path)
    headers: dict[str, Any] = {
        "Content-Type": _media_type(path),
        "Cache-Control": REVALIDATE,
        "ETag": etag,
    }
    if path.suffix == ".html":
        headers["Content-Security-Policy"] = _content_security_policy()
    if api.request.headers.get("if-none-match") == etag:
        return Response(b"", headers, 304)
    return Response(body, headers)


@functools.cache
def _read(path: Path) -> tuple[bytes, str]:
    if not path.is_file():
        raise NotFound(f"there is no file {path.name!r}")
    body = path.read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:16]}"'


def _media_type(path: Path) -> str:
    known = MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    media = known or "application/octet-stream"
    return f"{media}; charset=utf-8" if media.startswith("text/") else media


def _content_security_policy() -> str:
    """Allow the page itself and the bucket that large images are uploaded to, nothing else."""
    uploads = services().uploads.origin
    return (
        f"default-src 'self'; img-src 'self' blob: data: {uploads}; "
        f"connect-src 'self' {uploads}; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'; object-src 'none'"
    )
