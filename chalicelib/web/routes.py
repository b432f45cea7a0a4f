"""The page and its files, the OpenAPI document, and whether a detection would succeed."""

from __future__ import annotations

import functools
import hashlib
import html
import json
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from chalice.app import Response
from pydantic import BaseModel, Field

from chalicelib.errors import NotFound, NotReady, SightloopError
from chalicelib.observability import logger
from chalicelib.web import openapi
from chalicelib.web.api import Api, Media, Operation
from chalicelib.wiring import services

api = Api(__name__, tag="service")
documented: list[Operation] = []

VERSION = "1"
STATIC = Path(__file__).with_name("static")
MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
REVALIDATE = "no-cache"
FILE = {200: Media({})}

PAGES = {
    "/": "Detect",
    "/label": "Label",
    "/models": "Models",
    "/dataset": "Dataset",
    "/training": "Training",
    "/trust": "Trust",
}
"""Address of a page to its name in the header; the file is static/<address>.html, index.html for /.

To add a page, write the file, with ``<!-- head -->`` first in its head and ``<!-- pages -->`` in
its header, and add a line here.
"""
BESIDE: dict[str, str] = {}
"""Pages that are served beside this app: by `make run` the chat with the bot, on AWS none."""
HEAD = """\
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="theme-color" content="#10201b">
<meta name="referrer" content="no-referrer">
<link rel="icon" type="image/svg+xml" href="static/icon.svg">
<link rel="stylesheet" href="static/style.css">"""
"""What the head of every page begins with; what a page asks for does not say which page it was."""
LOOP = (
    '<svg class="loop" viewBox="0 0 48 40" aria-hidden="true" focusable="false">'
    '<path d="M46 5C36-1 15 2 7 12c-9 12 1 24 17 25 15 1 23-11 18-20C38 10 27 9 18 13"/>'
    '<circle cx="25" cy="23" r="3.4"/></svg>'
)


@dataclass(frozen=True)
class Copy:
    """Bytes that ship, and the ETag by which a client knows whether it has them."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> Self:
        """Work out the ETag."""
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:16]}"')


class Health(BaseModel):
    """A detection would succeed."""

    status: Literal["ok"] = "ok"
    model: str = Field(description="that was tried", examples=["scratch"])
    version: int = Field(description="of that model", examples=[1])


@api.route(
    "GET",
    "/healthz",
    "Tell whether a detection would succeed",
    {200: Health},
    errors=(NotReady,),
)
def check_health() -> Health:
    """Detect with a model, once for each version that goes live, and name it."""
    names = []
    for file in services().catalog.serving():
        names.append(name := file.name)
        try:
            return Health(model=name, version=services().inference.prove(name))
        except SightloopError:
            logger.exception("a model cannot detect", model=name)
    if not names:
        raise NotReady("no model serves yet: register one")
    raise NotReady(f"none of the models can detect: {', '.join(names)}")


@api.route(
    "GET",
    "/openapi.json",
    "Describe this API",
    {
        200: Media(
            {"application/json": {"type": "object"}}, "the OpenAPI 3.1 document", {"ETag": "of it"}
        ),
        304: Media({}, "it is the one named in If-None-Match"),
    },
)
def describe_api() -> Response:
    """Return this document."""
    return _answered(_description(), "application/json")


@functools.cache
def _description() -> Copy:
    return Copy.of(json.dumps(openapi.document(documented, VERSION)).encode())


def page() -> Response:
    """Return a page, whose links are relative: on AWS it lies below a stage or a base path."""
    asked = str(api.request.context.get("path") or api.request.path)
    answer = _answered(_page(api.request.path, asked), "text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = content_security_policy()
    return answer


for _address in PAGES:
    api.route("GET", _address, "A page", FILE, documented=False)(page)


@functools.cache
def _page(address: str, asked: str) -> Copy:
    written = _read(STATIC / f"{address.strip('/') or 'index'}.html").body
    return Copy.of(dressed(written, address, asked))


def link_beside(address: str, name: str) -> None:
    """Have the header of every page link to a page that is served beside this app."""
    BESIDE[address] = name
    _page.cache_clear()


def dressed(written: bytes, address: str, asked: str) -> bytes:
    """Return a page with its head and header, and a base where its path would mislead its links."""
    written = written.replace(b"<!-- head -->", HEAD.encode(), 1)
    written = written.replace(b"<!-- pages -->", (_brand(address) + _links(address)).encode(), 1)
    if asked.endswith("/") is (address == "/"):
        return written
    root = asked.rstrip("/").removesuffix(address.rstrip("/"))
    base = f'<head>\n<base href="{html.escape(root)}/">'
    return written.replace(b"<head>", base.encode(), 1)


def _brand(address: str) -> str:
    """Return the header's name, which leads to the first page, and is the first page's title."""
    inside = f"{LOOP}Sightloop"
    if address == "/":
        return f'<h1 class="brand">{inside}</h1>'
    return f'<a class="brand" href="./">{inside}</a>'


def _links(address: str) -> str:
    """Return the header's links, of which the one to the page itself is marked."""
    links = (
        f'<a href="{to.removeprefix("/") or "./"}"{" aria-current=page" if to == address else ""}>'
        f"{html.escape(name)}</a>"
        for to, name in {**PAGES, **BESIDE}.items()
    )
    return f'<nav class="pages" aria-label="Pages">{"".join(links)}</nav>'


@api.route("GET", "/static/{name}", "A file of the page", FILE, documented=False)
def static_file(name: str) -> Response:
    """Return a script or a style sheet."""
    return _file(STATIC, name)


@api.route("GET", "/static/vendor/{name}", "A library of the page", FILE, documented=False)
def vendored_file(name: str) -> Response:
    """Return a file of a library that others wrote."""
    return _file(STATIC / "vendor", name)


@api.route("GET", "/samples/{name}", "A sample photo", FILE, documented=False)
def sample(name: str) -> Response:
    """Return a sample photo."""
    return _file(STATIC / "samples", name)


def _file(folder: Path, name: str) -> Response:
    """Return a file that ships in a folder: one of those listed there, so no name leads out."""
    if name not in _names(folder):
        raise NotFound(f"there is no file {name!r}")
    return _answered(_read(folder / name), _media_type(folder / name))


@functools.cache
def _names(folder: Path) -> frozenset[str]:
    files = (path for path in folder.glob("*") if path.is_file())
    return frozenset(file.name for file in files if file.suffix != ".html")


def _answered(copy: Copy, media_type: str) -> Response:
    """Return a copy, or nothing at all where the client has the same."""
    headers: dict[str, Any] = {
        "Content-Type": media_type,
        "Cache-Control": REVALIDATE,
        "ETag": copy.etag,
    }
    if _has(copy.etag):
        return Response(b"", headers, 304)
    return Response(copy.body, headers)


def _has(etag: str) -> bool:
    told = str(api.request.headers.get("if-none-match", ""))
    return etag in {part.strip().removeprefix("W/") for part in told.split(",")}


@functools.cache
def _read(path: Path) -> Copy:
    return Copy.of(path.read_bytes())


def _media_type(path: Path) -> str:
    known = MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    media = known or "application/octet-stream"
    return f"{media}; charset=utf-8" if media.startswith("text/") else media


def content_security_policy() -> str:
    """Allow the page itself and the buckets: one takes large images, one shows what was kept."""
    uploads, store = services().uploads.origin, services().store.origin
    return (
        f"default-src 'self'; img-src 'self' blob: data: {uploads} {store}; "
        f"connect-src 'self' {uploads}; frame-ancestors 'none'; base-uri 'self'; "
        "form-action 'none'; object-src 'none'"
    )
