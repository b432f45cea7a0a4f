"""A banned caller is refused by all that writes, and by nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.errors import StorageUnavailable
from chalicelib.storage import ObjectStore
from chalicelib.trust.report_list import KEY, ReportList
from chalicelib.web.routes import documented
from tests.api.conftest import member_headers

Caller = Any
Gateway = Any
Stack = Any
MakePicture = Callable[..., bytes]

DETECTIONS = "/v1/models/scratch/detections"
ADDRESS = "203.0.113.7"  # of the recorded event
SINCE = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
WRITING = [
    each
    for each in documented
    if each.method != "GET" and not (each.operators_only or each.open_to_banned)
]
READING = ["/", "/healthz", "/openapi.json", "/v1/models", "/v1/models/scratch"]


@pytest.fixture
def ban(stack: Stack) -> Iterator[Callable[..., None]]:
    """Write the report list, which no process keeps here, as the Lambda would."""
    store: ObjectStore = stack.services.store
    held = stack.services.report_list
    stack.services.report_list = ReportList(store, 0)

    def write(*users: str) -> None:
        text = "".join(f"{user}\t{SINCE.isoformat()}\n" for user in users)
        store.put(KEY, text.encode(), "text/plain")

    yield write
    store.delete(KEY)
    stack.services.report_list = held


def concrete(path: str) -> str:
    return re.sub(r"{\w+}", "scratch", path)


@pytest.mark.parametrize("operation", WRITING, ids=lambda each: f"{each.method} {each.path}")
def test_a_banned_caller_is_refused_by_every_route_that_writes(
    gateway: Gateway, ban: Callable[..., None], operation: Any
) -> None:
    ban(ADDRESS)

    answer = gateway(operation.method, concrete(operation.path), b"{}")

    assert answer.status == 403
    assert answer.type == "application/problem+json"
    assert answer.json["type"] == "urn:sightloop:problem:banned"


def test_they_are_told_since_when_and_how_to_appeal(
    call: Caller, stack: Stack, ban: Callable[..., None]
) -> None:
    ban(ADDRESS, "127.0.0.1")

    told = call("POST", "/v1/uploads", b"{}", content_type="application/json").json

    assert datetime.fromisoformat(told["since"]) == SINCE
    assert told["appeal"] == stack.services.settings.appeal_to
    assert told["appeal"] in told["detail"]
    assert "2026-11-21 09:30 UTC" in told["detail"]
    assert told["retry"] is False


@pytest.mark.parametrize("path", READING)
def test_what_only_reads_stays_open(gateway: Gateway, ban: Callable[..., None], path: str) -> None:
    ban(ADDRESS)

    assert gateway("GET", path).status == 200


def test_others_go_on(
    gateway: Gateway, ban: Callable[..., None], make_picture: MakePicture
) -> None:
    ban("203.0.113.70", "203.0.113.0", f"user:{ADDRESS}", "203.0.113.7/32", "operator:ada")

    assert gateway("POST", DETECTIONS, make_picture(), content_type="image/jpeg").status == 200


def test_a_user_is_banned_by_name_wherever_they_call_from(
    gateway: Gateway, stack: Stack, ban: Callable[..., None], make_picture: MakePicture
) -> None:
    ban("user:vandal")
    sent = {"body": make_picture(), "content_type": "image/jpeg"}

    assert gateway("POST", DETECTIONS, **sent).status == 200
    assert gateway("POST", DETECTIONS, **sent, **member_headers(stack, "vandal")).status == 403
    assert gateway("POST", DETECTIONS, **sent, **member_headers(stack, "ann")).status == 200


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "x_real_ip", "client_ip"])
def test_a_forged_header_neither_lets_in_nor_shuts_out(
    gateway: Gateway, ban: Callable[..., None], make_picture: MakePicture, header: str
) -> None:
    ban(ADDRESS)
    sent = {"body": make_picture(), "content_type": "image/jpeg"}
    assert gateway("POST", DETECTIONS, **sent, **{header: "198.51.100.1"}).status == 403

    ban("198.51.100.1")
    assert gateway("POST", DETECTIONS, **sent, **{header: "198.51.100.1"}).status == 200


@pytest.mark.parametrize(
    "address", ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:DB8:1:2:0:0:0:9"]
)
def test_another_address_of_a_banned_household_is_banned(
    gateway: Gateway, ban: Callable[..., None], address: str
) -> None:
    ban("2001:db8:1:2::/64")
    event = gateway.event("POST", DETECTIONS, b"x", {"Content-Type": "image/jpeg"})
    event["requestContext"]["identity"]["sourceIp"] = address

    assert gateway.answer(gateway._app(event, None)).status == 403


def test_an_operator_gets_to_what_is_for_operators_even_from_a_banned_address(
    gateway: Gateway, ban: Callable[..., None], as_operator: dict[str, str]
) -> None:
    ban(ADDRESS, "operator:operator")

    assert gateway("GET", "/v1/bans", **as_operator).status == 200


def test_a_banned_callers_body_is_not_even_read(gateway: Gateway, ban: Callable[..., None]) -> None:
    ban(ADDRESS)

    assert gateway("POST", DETECTIONS, b"\0" * 9_000_000, content_type="image/jpeg").status == 403


def test_while_the_list_cannot_be_read_the_last_known_one_counts(
    gateway: Gateway, stack: Stack, ban: Callable[..., None], make_picture: MakePicture
) -> None:
    class Fickle(ObjectStore):
        down = False

        def get_if_changed(self, key: str, etag: str | None) -> Any:
            if self.down:
                raise StorageUnavailable("connect timeout")
            return super().get_if_changed(key, etag)

    store = Fickle(stack.services.client("s3"), stack.services.store.bucket)
    stack.services.report_list = ReportList(store, 0)
    sent = {"body": make_picture(), "content_type": "image/jpeg"}
    ban(ADDRESS)
    assert gateway("POST", DETECTIONS, **sent).status == 403

    ban()
    store.down = True
    assert gateway("POST", DETECTIONS, **sent).status == 403
    store.down = False
    assert gateway("POST", DETECTIONS, **sent).status == 200


def test_a_list_that_was_never_read_lets_nobody_write(
    gateway: Gateway, stack: Stack, make_picture: MakePicture
) -> None:
    class Down(ObjectStore):
        def get_if_changed(self, key: str, etag: str | None) -> Any:
            raise StorageUnavailable("connect timeout on secret-bucket")

    held = stack.services.report_list
    stack.services.report_list = ReportList(Down(None, "x"), 0)
    try:
        answer = gateway("POST", DETECTIONS, make_picture(), content_type="image/jpeg")
    finally:
        stack.services.report_list = held

    assert (answer.status, answer.json["retry"]) == (503, True)
    assert b"secret" not in answer.body


def test_no_call_asks_the_database_whether_somebody_is_banned(
    gateway: Gateway, stack: Stack, ban: Callable[..., None], make_picture: MakePicture
) -> None:
    class Untouched:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was asked for")

    ban("somebody")
    settings = stack.services.settings
    clients = {name: stack.services.client(name) for name in ("s3", "sqs", "dynamodb")}
    services = wiring.Services(settings, clients)
    services.database = Untouched()  # type: ignore[assignment]
    wiring.provide(services)
    try:
        wanted = {"model": "scratch", "file_name": "a.jpg", "content_type": "image/jpeg"}
        body = json.dumps(wanted).encode()
        detected = gateway("POST", DETECTIONS, make_picture(), content_type="image/jpeg")
        offered = gateway("POST", "/v1/uploads", body, content_type="application/json")
    finally:
        wiring.provide(stack.services)

    assert (detected.status, offered.status) == (200, 201)
