"""Quotas as callers meet them: 429 with Retry-After, and all is well once that is over."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from chalice.app import Chalice
from moto import mock_aws

from app import app
from chalicelib import wiring
from chalicelib.idempotency import IdempotencyKeys
from chalicelib.quotas import Quotas
from chalicelib.settings import Settings
from tests.api.conftest import Gateway, make_stack

JSON = {"content_type": "application/json"}
WANTED = json.dumps({"model": "scratch", "file_name": "a.jpg", "content_type": "image/jpeg"})


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 30, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(scope="module")
def limited(
    make_model: Callable[..., bytes], new_database: Callable[..., str], migrated: str
) -> Iterator[Any]:
    """The stack with its default quotas."""
    with mock_aws():
        url = new_database(template=migrated)
        made = make_stack(live_version_ttl_seconds=0, database_url=url, quotas=True)
        made.publish(make_model())
        yield made
        made.services.database.close()
    wiring.provide(wiring.Services(Settings()))


@pytest.fixture
def clock(limited: Any) -> Clock:
    """A clock by which the quotas go; every test begins with full buckets."""
    made, services = Clock(), limited.services
    table, dynamodb = services.settings.limits_table, services.client("dynamodb")
    for item in dynamodb.scan(TableName=table)["Items"]:
        dynamodb.delete_item(TableName=table, Key={"entry": item["entry"]})
    services.quotas = Quotas(dynamodb, services.settings, made)
    services.idempotency_keys = IdempotencyKeys(dynamodb, table, made)
    return made


class From(Gateway):
    """API Gateway as the callers of one address meet it."""

    def __init__(self, chalice_app: Chalice, address: str) -> None:
        super().__init__(chalice_app)
        self._address = address

    def event(self, *request: Any) -> dict[str, Any] | None:
        event = super().event(*request)
        if event is not None:
            event["requestContext"]["identity"]["sourceIp"] = self._address
        return event


@pytest.fixture
def caller(clock: Clock) -> From:
    return From(app, "203.0.113.7")


def test_hundreds_of_upload_forms_are_refused_and_the_wait_is_told(
    caller: From, clock: Clock
) -> None:
    answers = []
    for _ in range(496):
        answers.append(caller("POST", "/v1/uploads", WANTED.encode(), **JSON))
        clock.now += timedelta(seconds=10 / 496)

    assert Counter(answer.status for answer in answers) == {201: 60, 429: 436}
    refused = answers[-1]
    assert refused.json["type"] == "urn:sightloop:problem:too-many-requests"
    assert refused.json["retry"] is True
    clock.now += timedelta(seconds=int(refused.headers["retry-after"]))
    assert caller("POST", "/v1/uploads", WANTED.encode(), **JSON).status == 201
    assert caller("POST", "/v1/uploads", WANTED.encode(), **JSON).status == 429
    other = From(app, "203.0.113.8")
    assert other("POST", "/v1/uploads", WANTED.encode(), **JSON).status == 201


def test_import_forms_are_bounded_by_the_bytes_that_they_may_bring(caller: From) -> None:
    asked = json.dumps({"name": "dents", "classes": ["dent"]}).encode()
    assert caller("POST", "/v1/pending-models", asked, **JSON).status == 201

    def form(body: dict[str, int]) -> Any:
        return caller("POST", "/v1/pending-models/dents/imports", json.dumps(body).encode(), **JSON)

    whole = [form({}).status for _ in range(5)]
    assert whole == [201] * 4 + [429]
    assert form({"bytes": 2**40}).status == 400
    assert form({"bytes": 10}).status == 429  # the sixth form was the last but one


def test_a_small_zip_costs_little_and_its_form_takes_no_more(caller: From) -> None:
    asked = json.dumps({"name": "rust", "classes": ["rust"]}).encode()
    caller("POST", "/v1/pending-models", asked, **JSON)
    path = "/v1/pending-models/rust/imports"

    offers = [caller("POST", path, b'{"bytes": 1000000}', **JSON) for _ in range(6)]

    assert [offer.status for offer in offers] == [201] * 6
    assert offers[0].json["upload"]["max_bytes"] == 1_000_000


def test_pending_models_and_tasks_and_kept_pictures_are_bounded(
    caller: From, limited: Any, make_picture: Callable[..., bytes]
) -> None:
    limits = limited.services.settings
    models = [
        caller(
            "POST",
            "/v1/pending-models",
            json.dumps({"name": f"model-{n}", "classes": ["a"]}).encode(),
            **JSON,
        ).status
        for n in range(limits.quota_pending_models + 1)
    ]
    assert models == [201] * limits.quota_pending_models + [429]
    tasks = [caller("POST", "/v1/models/scratch/tasks").status for _ in range(121)]
    assert tasks[-2:] == [404, 429]
    path = "/v1/models/scratch/detections"
    image = {"content_type": "image/jpeg"}
    kept = Counter(
        caller("POST", f"{path}?keep=true", make_picture(), **image).status for _ in range(122)
    )
    assert kept == {200: 120, 429: 2}
    assert caller("POST", path, make_picture(), **image).status == 200


def test_operators_are_not_limited(caller: From, limited: Any) -> None:
    token = limited.services.secrets.read().operators["operator"]
    signed = {**JSON, "authorization": f"Bearer {token}"}

    statuses = {caller("POST", "/v1/uploads", WANTED.encode(), **signed).status for _ in range(80)}

    assert statuses == {201}


class Unreachable:
    """DynamoDB whose table of limits is away."""

    def __init__(self, dynamodb: Any) -> None:
        self.exceptions = dynamodb.exceptions
        self._meta = dynamodb

    def update_item(self, **_: object) -> Any:
        raise self._error()

    put_item = delete_item = update_item

    def _error(self) -> Exception:
        from botocore.exceptions import EndpointConnectionError  # noqa: PLC0415

        return EndpointConnectionError(endpoint_url="https://dynamodb")


def test_without_the_table_forms_are_refused_and_detections_go_on(
    caller: From, limited: Any, clock: Clock, make_picture: Callable[..., bytes]
) -> None:
    services = limited.services
    away = Unreachable(services.client("dynamodb"))
    services.quotas = Quotas(away, services.settings, clock)
    services.idempotency_keys = IdempotencyKeys(away, services.settings.limits_table, clock)
    image = {"content_type": "image/jpeg"}

    assert caller("POST", "/v1/uploads", WANTED.encode(), **JSON).status == 503
    path = "/v1/models/scratch/detections"
    assert caller("POST", f"{path}?keep=true", make_picture(), **image).status == 200
    key = {"idempotency_key": "a-key-of-16-characters"}
    assert caller("POST", path, make_picture(), **image, **key).status == 200
    assert caller("POST", f"{path}?keep=true", make_picture(), **image, **key).status == 503
