"""What holds for every route: problems, correlation ids, metrics, CORS, and no surprise leaks."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin

import pytest
from chalice.app import Response
from chalice.config import Config
from chalice.local import LocalGateway

from app import app
from chalicelib import wiring
from chalicelib.errors import Banned, SightloopError, StorageUnavailable
from chalicelib.observability import logger
from chalicelib.settings import Settings
from chalicelib.web import middleware
from chalicelib.web.api import ANY_ORIGIN, Api
from chalicelib.web.routes import PAGES
from chalicelib.wiring import services

Caller = Any
Gateway = Any
Stack = Any

DETECTIONS = "/v1/models/scratch/detections"
GIVEN = "an-id-from-the-caller"
GATEWAYS = "3f0c2a6e-5d1b-4a57-9a55-0f3f6f0d7c11"


def all_kinds(kind: type[SightloopError] = SightloopError) -> Iterator[type[SightloopError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from all_kinds(below)


KINDS = [kind for kind in all_kinds() if kind.__module__ == "chalicelib.errors"]


@pytest.fixture
def log() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return what has been logged so far, a dict for each line."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logger.registered_formatter)
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logger._logger.removeHandler(handler)


def failing(error: Exception) -> Any:
    """Return an app of one route, which fails."""
    made = middleware.App("failing")
    made.register_middleware(middleware.surround_all, "all")
    made.register_middleware(middleware.surround_http, "http")
    api = Api(__name__, tag="failing")

    def fail() -> Response:
        """Fail."""
        raise error

    api.route("GET", "/fail", "Fail", {200: Settings})(fail)
    made.register_blueprint(api.blueprint)
    return made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_error_is_answered_as_a_problem(
    gateway: Gateway, kind: type[SightloopError]
) -> None:
    of_a_ban = ("eve", datetime(2026, 11, 21, tzinfo=UTC), "write to us")
    error = kind(*of_a_ban) if kind is Banned else kind("why")
    answer = type(gateway)(failing(error))("GET", "/fail")

    assert answer.status == kind.status
    assert answer.type == "application/problem+json"
    assert answer.json["status"] == kind.status
    assert answer.json["instance"] == "/api/fail"
    assert answer.json["correlation_id"] == answer.headers["x-correlation-id"]


@pytest.mark.parametrize(
    "error", [RuntimeError("secret"), KeyError("secret"), MemoryError("secret"), OSError("secret")]
)
def test_what_nobody_foresaw_is_a_problem_that_leaks_nothing(
    gateway: Gateway, error: Exception, log: Callable[[], list[dict[str, Any]]]
) -> None:
    answer = type(gateway)(failing(error))("GET", "/fail")

    assert answer.status == 500
    assert answer.type == "application/problem+json"
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    logged = next(line for line in log() if line["level"] == "ERROR")
    assert "secret" in logged["exception"]
    assert logged["correlation_id"] == answer.json["correlation_id"]


def test_a_store_that_does_not_answer_may_be_asked_again(
    call: Caller, stack: Stack, make_picture: Callable[..., bytes]
) -> None:
    class Silent:
        def __getattr__(self, name: str) -> Any:
            raise StorageUnavailable("connect timeout on https://secret-bucket.s3")

    wiring.provide(wiring.Services(stack.services.settings, {"s3": Silent()}))
    try:
        answers = [
            call("GET", "/v1/models"),
            call("GET", "/v1/models/scratch"),
            call("GET", "/healthz"),
            call("POST", DETECTIONS, make_picture(), content_type="image/jpeg"),
        ]
    finally:
        wiring.provide(stack.services)

    for answer in answers:
        assert answer.status == 503
        assert answer.headers["retry-after"] == "2"
        assert answer.json["retry"] is True
        assert b"secret" not in answer.body


def test_health_fails_while_no_model_serves(call: Caller, stack: Stack) -> None:
    settings = stack.services.settings.model_copy(
        update={"store_bucket": stack.services.settings.uploads_bucket}
    )
    wiring.provide(wiring.Services(settings, {"s3": stack.services.client("s3")}))
    try:
        answer = call("GET", "/healthz")
    finally:
        wiring.provide(stack.services)

    assert answer.status == 503
    assert answer.json["type"] == "urn:sightloop:problem:not-ready"
    assert "register one" in answer.json["detail"]


def test_a_model_that_is_broken_in_the_store_is_told_and_others_serve_on(
    call: Caller, stack: Stack, make_picture: Callable[..., bytes]
) -> None:
    text = "name: broken\nnames: [x]\nnc: 1\nlive_version: 1\n"
    store = stack.services.store
    store.put("models/broken/model.yaml", text.encode(), "application/yaml")
    store.put("models/broken/versions/1/model.onnx", b"garbage", "application/octet-stream")
    store.put("models/garbled/model.yaml", b"a: [unclosed", "application/yaml")
    sent = {"body": make_picture(), "content_type": "image/jpeg"}

    broken = call("POST", "/v1/models/broken/detections", **sent)
    garbled = call("POST", "/v1/models/garbled/detections", **sent)
    good = call("POST", DETECTIONS, **sent)
    health = call("GET", "/healthz")

    assert broken.status == 503
    assert broken.json["type"] == "urn:sightloop:problem:model-unavailable"
    assert "'broken'" in broken.json["detail"]
    assert garbled.status == 503
    assert "'garbled'" in garbled.json["detail"]
    assert good.status == health.status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "GET"])
def test_a_method_that_a_route_does_not_have_is_named(gateway: Gateway, method: str) -> None:
    answer = gateway(method, DETECTIONS)

    assert answer.status == 405
    assert answer.type == "application/problem+json"
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/v1", "/v2/models", "/v1/models/", "/wp-login.php"])
def test_a_route_that_does_not_exist_is_not_found(gateway: Gateway, path: str) -> None:
    answer = gateway("GET", path)

    assert answer.status == 404
    assert answer.type == "application/problem+json"
    assert answer.json["instance"] == f"/api{path}"
    assert answer.json["correlation_id"] == answer.headers["x-correlation-id"] == GATEWAYS


def test_a_body_that_the_gateway_does_not_take_is_sent_to_uploads(gateway: Gateway) -> None:
    answer = gateway("POST", DETECTIONS, b"\0" * (10 * 1024 * 1024 + 1), content_type="image/jpeg")

    assert answer.status == 413
    assert "POST /v1/uploads" in answer.json["detail"]


def test_every_route_answers_any_origin() -> None:
    for path, methods in app.routes.items():
        for entry in methods.values():
            assert entry.cors is ANY_ORIGIN, path
    told = ANY_ORIGIN.get_access_control_headers()
    assert told["Access-Control-Allow-Origin"] == "*"
    for header in ("X-Correlation-Id", "If-None-Match", "Content-Type"):
        assert header in told["Access-Control-Allow-Headers"].split(",")


@pytest.mark.parametrize("path", sorted(app.routes))
def test_a_browser_may_ask_first(path: str) -> None:
    local = LocalGateway(app, Config.create())

    asked = local.handle_request("OPTIONS", re.sub(r"{\w+}", "x", path), {}, b"")

    assert asked["statusCode"] == 200
    assert asked["headers"]["Access-Control-Allow-Origin"] == "*"
    allowed = set(asked["headers"]["Access-Control-Allow-Methods"].split(","))
    assert allowed == {*app.routes[path], "OPTIONS"}


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/models", 200), ("/v1/models/nothing", 404), (DETECTIONS, 405)]
)
def test_a_page_of_any_origin_may_read_every_answer(
    gateway: Gateway, path: str, status: int
) -> None:
    answer = gateway("GET", path, origin="https://example.com")

    assert answer.status == status
    if status != HTTPStatus.METHOD_NOT_ALLOWED:  # API Gateway itself answers that one
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "X-Correlation-Id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        (GIVEN, GIVEN),
        ("short", GATEWAYS),
        ("x" * 129, GATEWAYS),
        ('evil"},{"x":"', GATEWAYS),
        ("evil\r\nSet-Cookie: x=y", GATEWAYS),
        ("ünïcödé-id", GATEWAYS),
        ("", GATEWAYS),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/nothing"])
def test_a_request_is_named_by_its_caller_or_by_the_gateway(
    gateway: Gateway, log: Callable[[], list[dict[str, Any]]], path: str, given: str, bound: str
) -> None:
    answer = gateway("GET", path, x_correlation_id=given)

    assert answer.headers["x-correlation-id"] == bound
    assert answer.status == 200 or answer.json["correlation_id"] == bound
    assert {line["correlation_id"] for line in log()} == {bound}


def test_each_answer_is_logged_with_its_caller(
    gateway: Gateway, log: Callable[[], list[dict[str, Any]]]
) -> None:
    gateway("GET", "/v1/models/nothing", x_forwarded_for="6.6.6.6")

    answered = log()[-1]
    assert answered["message"] == "answered"
    assert (answered["status"], answered["method"]) == (404, "GET")
    assert answered["route"] == "/v1/models/{model}"
    assert answered["caller"] == "203.0.113.7"


def metrics_of(printed: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return [line for line in lines if "_aws" in line]


def test_each_call_sends_metrics_of_its_own(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    for expected in (1, 1):
        gateway("GET", "/v1/models")
        (sent,) = metrics_of(capsys.readouterr().out)
        assert sent["Requests"] == [expected]
        assert sent["RequestTime"][0] > 0
        assert "RequestErrors" not in sent


def test_failures_are_counted(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    type(gateway)(failing(RuntimeError("x")))("GET", "/fail")

    (sent,) = metrics_of(capsys.readouterr().out)
    assert sent["RequestErrors"] == [1]


def test_many_callers_at_once_are_all_answered_and_counted(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], make_picture: Callable[..., bytes]
) -> None:
    statuses: list[int] = []
    names: list[tuple[str, str]] = []
    image = make_picture()

    def ask(number: int) -> None:
        for turn in range(10):
            named = f"caller-{number}-{turn}"
            answer = gateway(
                "POST", DETECTIONS, image, content_type="image/jpeg", x_correlation_id=named
            )
            statuses.append(answer.status)
            names.append((named, answer.headers["x-correlation-id"]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 80
    assert all(given == told for given, told in names)
    sent = metrics_of(capsys.readouterr().out)
    assert sum(len(each["Requests"]) for each in sent) == 80


def test_a_client_that_names_no_accept_header_is_answered(gateway: Gateway) -> None:
    event = gateway.event("GET", "/v1/models", b"", {})
    event["headers"] = None

    assert gateway.answer(app(event, None)).status == 200


def test_an_event_whose_route_does_not_exist_is_a_problem(gateway: Gateway) -> None:
    event = gateway.event("GET", "/v1/models", b"", {})
    event["requestContext"]["resourcePath"] = "/nowhere"

    answer = gateway.answer(app(event, None))
    app.routes.pop("/nowhere")  # Chalice made an empty entry by asking for it

    assert answer.status == 404
    assert answer.json["type"] == "urn:sightloop:problem:not-found"


def test_the_page_is_nowhere_but_at_its_address(call: Caller) -> None:
    assert call("GET", "/static/index.html").status == 404


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_served_and_allows_only_itself_and_the_buckets(
    call: Caller, address: str
) -> None:
    answer = call("GET", address, accept="text/html")

    assert (answer.status, answer.type) == (200, "text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    store, uploads = (getattr(services(), name).origin for name in ("store", "uploads"))
    assert f"img-src 'self' blob: data: {uploads} {store};" in policy
    assert f"connect-src 'self' {uploads};" in policy


@pytest.mark.parametrize("address", PAGES)
def test_a_page_links_to_all_pages_and_marks_itself(call: Caller, address: str) -> None:
    written = call("GET", address).body.decode()

    for to, name in PAGES.items():
        mark = " aria-current=page" if to == address else ""
        assert f'<a href="{to[1:] or "./"}"{mark}>{name}</a>' in written
    assert "<!--" not in written


@pytest.mark.parametrize("address", PAGES)
def test_no_page_promises_the_chat_that_only_one_machine_has(call: Caller, address: str) -> None:
    assert b'href="bot' not in call("GET", address).body
    assert "/bot" not in app.routes


@pytest.mark.parametrize("address", PAGES)
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_page_finds_its_files_with_and_without_a_slash_at_the_end(
    gateway: Gateway, address: str, slash: str
) -> None:
    event = gateway.event("GET", address, b"", {})
    asked = f"/api{address}".rstrip("/") + slash
    event["requestContext"]["path"] = asked

    page = gateway.answer(app(event, None)).body.decode()
    based = re.search(r'<base href="([^"]+)">', page)
    assert urljoin(urljoin(asked, based[1] if based else ""), "static/app.js") == (
        "/api/static/app.js"
    )


def test_a_path_cannot_write_into_a_page(gateway: Gateway) -> None:
    event = gateway.event("GET", "/", b"", {})
    event["requestContext"]["path"] = '/"><script>'

    assert b"<script>" not in gateway.answer(app(event, None)).body
