"""Moto's server, with the gaps closed that `chalice deploy` falls into. Prints its port.

1. Chalice writes `Prefix` and `Suffix` in a bucket notification, as AWS accepts; moto wants them in
   small letters.
2. An imported API needs a description for moto, which AWS does not ask for.
3. Chalice imports APIs as Swagger 2, moto reads OpenAPI 3 only.
4. A mock integration, which answers the preflight requests of browsers, has no address; moto wants
   one.

Moto forgets much of an imported API: `GET /imports` answers what was imported, as it came.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Environ = dict[str, Any]
FILTER_NAME = re.compile(rb"<Name>(Prefix|Suffix)</Name>")
IMPORT_PATH = re.compile(r"/restapis(/[^/]+)?$")


class ForChalice:
    """WSGI: mends requests on their way to moto."""

    def __init__(self, moto: Callable[..., Iterable[bytes]]) -> None:
        self._moto = moto
        self._imports: list[dict[str, Any]] = []

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/imports":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self._imports).encode()]
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if environ["REQUEST_METHOD"] == "PUT" and "notification" in query:
            _replace_body(environ, lambda body: FILTER_NAME.sub(_small, body))
        elif "mode" in query and IMPORT_PATH.search(environ["PATH_INFO"]):
            _replace_body(environ, lambda body: self._imported(query, json.loads(body)))
        return self._moto(environ, start_response)

    def _imported(self, query: dict[str, list[str]], swagger: dict[str, Any]) -> bytes:
        self._imports.append({"query": query, "swagger": json.loads(json.dumps(swagger))})
        return _as_openapi_3(swagger)


def _small(match: re.Match[bytes]) -> bytes:
    return b"<Name>" + match[1].lower() + b"</Name>"


def _as_openapi_3(swagger: dict[str, Any]) -> bytes:
    for integration in _integrations(swagger):
        if integration["type"] == "mock":
            integration.update(uri="", httpMethod="POST")
    info = {"description": "", **swagger["info"]}
    return json.dumps({"openapi": "3.0.0", "info": info, "paths": swagger["paths"]}).encode()


def _integrations(swagger: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in swagger["paths"].values():
        for method in path.values():
            yield method["x-amazon-apigateway-integration"]


def _replace_body(environ: Environ, change: Callable[[bytes], bytes]) -> None:
    body = change(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


if __name__ == "__main__":
    app = ForChalice(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()
