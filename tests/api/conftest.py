"""The whole app over stand-ins of AWS, called by raw events and through Chalice's own client."""

from __future__ import annotations

import base64
import copy
import io
import itertools
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import boto3
import jwt
import numpy as np
import pytest
from chalice.app import Chalice
from chalice.local import LambdaContext
from chalice.test import Client
from moto import mock_aws
from PIL import Image

from app import app
from chalicelib import wiring
from chalicelib.catalog.visibility import Visibility
from chalicelib.settings import Settings
from deploy.gateway import REFUSALS
from deploy.resources import ensure

RECORDED = json.loads((Path(__file__).parent / "events/rest_proxy.json").read_text())
LARGEST_BODY = 10 * 1024 * 1024  # that API Gateway takes
LARGEST_ANSWER = 6_291_556  # bytes of JSON that Lambda returns
SAMPLE = Path(__file__).parents[2] / "chalicelib/web/static/samples/tag-1.jpg"

numbers = itertools.count(1_000_000)  # above all seeds that tests choose


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0]


class Caller(Protocol):
    def __call__(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer: ...


def _headers(given: dict[str, str]) -> dict[str, str]:
    """Return headers under their own names: ``content_type`` is ``Content-Type``."""
    return {name.replace("_", "-").title(): value for name, value in given.items()}


class Gateway:
    """API Gateway's side of a REST API with a Lambda proxy and ``*/*`` as its binary type."""

    def __init__(self, chalice_app: Chalice) -> None:
        self._app = chalice_app
        self._routes = {
            path: re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))
            for path in chalice_app.routes
        }

    def __call__(self, method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        return self.send(method, target, body, _headers(headers))

    def send(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Turn a request into an event, and what Lambda returns into an answer."""
        event = self.event(method, target, body, headers)
        if event is None:
            return self._refuse("MISSING_AUTHENTICATION_TOKEN", urlsplit(target).path)
        if len(body) > LARGEST_BODY:
            return self._refuse("REQUEST_TOO_LARGE", event["path"])
        return self.answer(self._app(event, LambdaContext("api_handler", 3008)))

    def _refuse(self, response_type: str, path: str) -> Answer:
        """Answer as deploy/gateway.py has told API Gateway to."""
        said = REFUSALS[response_type].settings()
        context = RECORDED["requestContext"] | {"path": f"/api{path}"}
        headers = {
            name.rpartition(".")[2].lower(): context.get(value.partition(".")[2], value.strip("'"))
            for name, value in said["responseParameters"].items()
        }
        text = said["responseTemplates"]["application/json"]
        for name in ("path", "requestId"):
            text = text.replace(f"$context.{name}", context[name])
        return Answer(int(said["statusCode"]), headers, text.encode())

    def event(
        self, method: str, target: str, body: bytes, headers: dict[str, str]
    ) -> dict[str, Any] | None:
        """Return the event of a request, or none where there is no such route."""
        parts = urlsplit(target)
        found = next(
            ((path, hit) for path, rx in self._routes.items() if (hit := rx.fullmatch(parts.path))),
            None,
        )
        if found is None:
            return None
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        lists = {name: [value for key, value in pairs if key == name] for name, _ in pairs}
        event = copy.deepcopy(RECORDED)
        event["headers"] = {**RECORDED["headers"], **headers}
        event |= {
            "resource": found[0],
            "path": parts.path,
            "httpMethod": method,
            "multiValueHeaders": {name: [value] for name, value in event["headers"].items()},
            "queryStringParameters": dict(pairs) or None,
            "multiValueQueryStringParameters": lists or None,
            "pathParameters": {k: unquote(v) for k, v in found[1].groupdict().items()} or None,
            "body": base64.b64encode(body).decode() if body else None,
            "isBase64Encoded": bool(body),
        }
        event["requestContext"] |= {
            "resourcePath": found[0],
            "httpMethod": method,
            "path": f"/api{parts.path}",
        }
        return event

    def wsgi(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        """Serve a WSGI request, for tools that speak no Lambda."""
        names = {"CONTENT_TYPE": "Content-Type", "CONTENT_LENGTH": "Content-Length"}
        headers = {
            names.get(key) or key.removeprefix("HTTP_").replace("_", "-").title(): value
            for key, value in environ.items()
            if key in names or key.startswith("HTTP_")
        }
        target = "/" + (environ.get("REQUEST_URI") or quote(environ["PATH_INFO"])).lstrip("/")
        if "?" not in target and environ.get("QUERY_STRING"):
            target += f"?{environ['QUERY_STRING']}"
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        told = self.send(environ["REQUEST_METHOD"], target, body, headers)
        start_response(
            f"{told.status} {HTTPStatus(told.status).phrase}", list(told.headers.items())
        )
        return [told.body]

    def answer(self, returned: dict[str, Any]) -> Answer:
        """Return what API Gateway makes of what Lambda returned, which it can only as JSON."""
        assert len(json.dumps(returned)) <= LARGEST_ANSWER
        headers = {name.lower(): str(value) for name, value in returned["headers"].items()}
        for name, values in returned.get("multiValueHeaders", {}).items():
            headers[name.lower()] = ", ".join(values)
        body = returned["body"] or ""
        decoded = base64.b64decode(body, validate=True) if returned.get("isBase64Encoded") else None
        return Answer(
            returned["statusCode"], headers, body.encode() if decoded is None else decoded
        )


@dataclass
class Stack:
    """The services behind the app, and the bucket its models are in."""

    services: wiring.Services

    def publish(self, onnx: bytes, name: str = "scratch", metrics: bytes = b"{}") -> int:
        made = self.services.publisher.publish(name, onnx, metrics, Visibility.PUBLIC)
        assert made.live_version
        return made.live_version


def make_stack(**settings: Any) -> Stack:
    """Make all resources, and the services over them."""
    chosen = Settings(**{"quotas": False, "proof": "none", **settings})
    clients = {
        name: boto3.client(name, region_name=chosen.region)
        for name in ("s3", "sqs", "dynamodb", "secretsmanager")
    }
    ensure(chosen, clients.__getitem__)
    for bucket in (chosen.uploads_bucket, chosen.store_bucket):
        clients["s3"].delete_bucket_policy(Bucket=bucket)  # moto overlooks its condition
    stack = Stack(wiring.Services(chosen, clients))
    wiring.provide(stack.services)
    return stack


def member_headers(stack: Stack, subject: str | None = None) -> dict[str, str]:
    """Return the headers by which a member is known; without a subject, one who is new."""
    claims = {"sub": subject or uuid.uuid4().hex, "exp": time.time() + 3600}
    key = stack.services.secrets.read().subjects_key
    return {"authorization": f"Bearer {jwt.encode(claims, key, 'HS256')}"}


def photo(seed: int | None = None) -> bytes:
    """Return a JPEG of 64x64 pixels that is like no other; one seed gives the same again."""
    rng = np.random.default_rng(next(numbers) if seed is None else seed)
    noise = rng.integers(0, 255, (8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((64, 64), Image.Resampling.NEAREST).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def stack(
    make_model: Callable[..., bytes], new_database: Callable[..., str], migrated: str
) -> Iterator[Stack]:
    """The model `scratch`, which finds a scratch and a dent on every picture."""
    with mock_aws():
        url = new_database(template=migrated)
        made = make_stack(live_version_ttl_seconds=0, database_url=url, launcher="process")
        made.publish(make_model())
        yield made
        made.services.database.close()
    wiring.provide(wiring.Services(Settings()))


@pytest.fixture(scope="module")
def gateway(stack: Stack) -> Gateway:
    return Gateway(app)


@pytest.fixture(scope="module")
def as_operator(stack: Stack) -> dict[str, str]:
    """Return the header by which an operator is known, as a caller is given headers."""
    tokens = stack.services.secrets.read().operators
    return {"authorization": f"Bearer {tokens['operator']}"}


@pytest.fixture(params=["raw events", "chalice's client"])
def call(request: pytest.FixtureRequest, gateway: Gateway) -> Caller:
    """Send a request, once as a raw event and once through Chalice's own client."""
    if request.param == "raw events":
        return gateway
    http = Client(app).http

    def send(method: str, target: str, body: bytes = b"", **headers: str) -> Answer:
        sent = http.request(method, target, headers=_headers(headers), body=body)
        told = {name.lower(): str(value) for name, value in sent.headers.items()}
        return Answer(sent.status_code, told, sent.body)

    return send


@pytest.fixture(scope="session")
def sample() -> bytes:
    return SAMPLE.read_bytes()


@pytest.fixture(scope="session")
def bundled() -> bytes:
    return (Path(__file__).parents[2] / "models/scratch/model.onnx").read_bytes()
